"""Parts of one image, bands of its rows, that different processes or machines compute.

Each reads its own input rows and those around them. Every position is that of the whole image, so
that the parts' rows, one below the other, are the whole image's, bit for bit.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, UsageError
from pcsr.runtime.geometry.grid import Grid
from pcsr.runtime.geometry.tiling import LEAST_CORE_PX
from pcsr.runtime.routing.merging import Counted, Counts
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import Rule
from pcsr.runtime.timing import Stopwatch

from .graph_pipeline import PlainPipeline
from .native_pipeline import BandedRun, NativePipeline, composed_rows
from .output import ArrayOutput, Rows
from .pipeline import Pipeline, Routed, Size, Task
from .statistics import Ranks, Statistics


@dataclass(frozen=True)
class Part:
    """Some rows of an image. All are rows of the whole image."""

    rows: slice
    """Its own input rows."""
    seen: slice
    """The input rows that it reads: its own and those around them."""
    made: slice
    """The output rows that it makes."""


class HostParts:
    """Computes parts of images with one pipeline on the CPU. Any number of threads may call it.

    Raises:
        BackendError: the pipeline needs the whole image.
        UsageError: the network does, as its receptive field is not bounded.
    """

    def __init__(self, bundle: Bundle, pipeline: Pipeline) -> None:
        if not isinstance(pipeline, NativePipeline | PlainPipeline):
            raise BackendError(
                "backend onnxruntime holds a PCSR image whole and cannot compute it in parts; use "
                "the native backend"
            )
        model = bundle.manifest.model
        if model.receptive_radius_px is None:
            raise UsageError(
                f"{bundle.path} is for whole images: it states no receptive radius, so that parts "
                "would not be exact"
            )
        if not pipeline.cuts_exactly:
            raise BackendError(
                "parts would not be exact: what computes the backbone here has not been found to "
                "give the same for each of them; pass --precision fp32"
            )
        self._radius_px, self._multiple = model.receptive_radius_px, model.size_multiple
        self._pipeline = pipeline

    def cut(self, size: Size, scale: float, count: int) -> tuple[Part, ...]:
        """Cuts an image of (height, width) into `count` parts, from top to bottom; into fewer where
        they would have fewer rows of their own than they read around them.
        """
        grid, multiple = Grid.make(size, scale), self._multiple
        around = -(-self._halo_px(grid) // multiple) * multiple
        least = max(LEAST_CORE_PX, multiple, 2 * around)
        units = math.ceil(size[0] / multiple)
        count = max(1, min(count, size[0] // least))
        edges = [min(size[0], units * i // count * multiple) for i in range(count + 1)]
        return tuple(self._part(grid, slice(*edge), around) for edge in itertools.pairwise(edges))

    def count(self, task: Task, part: Part, counted: Counted) -> Counts:
        """Classifies the pixels of a part and counts what is asked for. `task.read` has the rows
        that the part reads.
        """
        assert isinstance(self._pipeline, NativePipeline)
        run = BandedRun(self._pipeline, task, Stopwatch(), part.made)
        if counted.logits:
            ranks = Ranks(counted.upper)
            run.classify(ranks)
            return ranks.counts
        statistics = Statistics(RoutingRequest(adaptive=True), counted.first, counted.last)
        run.classify(statistics)
        return statistics.histogram

    def upscale(
        self, task: Task, part: Part, rule: Rule | None, dtype: np.dtype[Any], watch: Stopwatch
    ) -> tuple[Rows, Routed]:
        """Computes the output rows of a part. rule: that of the whole image; None for a plain
        network.
        """
        size = (part.made.stop - part.made.start, Grid.make(task.size, task.scale).hr_size[1])
        output = ArrayOutput(Rows.empty(size, dtype), first=part.made.start)
        if isinstance(self._pipeline, PlainPipeline):
            routed = self._pipeline.run(task, output, watch, part.rows)
        else:
            assert rule is not None
            routed = BandedRun(self._pipeline, task, watch, part.made).compose(rule, output)
        return output.whole, routed

    def _halo_px(self, grid: Grid) -> int:
        """Counts the rows around a part: at least that beside it, which is interpolated with."""
        if isinstance(self._pipeline, PlainPipeline):
            return self._radius_px
        return max(1, self._radius_px + self._pipeline.planner.reach_px(grid))

    def _part(self, grid: Grid, rows: slice, around: int) -> Part:
        if isinstance(self._pipeline, PlainPipeline):
            made, inner = self._pipeline.enlarged(rows), rows
        else:
            made = grid.hr_rows(rows)
            inner = grid.lr_rows(composed_rows(grid, made))
        seen = slice(max(0, inner.start - around), min(grid.lr_size[0], inner.stop + around))
        return Part(rows, seen, made)
