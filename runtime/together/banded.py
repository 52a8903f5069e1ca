"""A shared rule on the backend native: all images are classified before the first is composed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.cpu.native_pipeline import BandedRun, NativePipeline
from pcsr.runtime.cpu.output import ArrayOutput, Rows
from pcsr.runtime.cpu.pipeline import Routed
from pcsr.runtime.cpu.planning import LEAST_TILE_BYTES, WORKING_BYTES
from pcsr.runtime.cpu.statistics import Collector, rule_of
from pcsr.runtime.cpu.upscaler import HostUpscaler, size_of
from pcsr.runtime.executor import Executor
from pcsr.runtime.geometry.grid import hr_size, refuse_huge
from pcsr.runtime.layout import Layout
from pcsr.runtime.result import Result, Stats
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import Rule
from pcsr.runtime.timing import Stopwatch, summed_stages

Pixels = NDArray[Any]
Take = Callable[[tuple[int, ...], Any], Pixels]


def upscale_banded(
    executor: HostUpscaler, pixels: Pixels, scale: float, request: RoutingRequest, take: Take
) -> Result:
    """Upscales a batch [N, h, w, 3] by a completed request that needs statistics. take: gives
    arrays of a shape and a dtype.
    """
    size, layout = size_of(pixels[0]), Layout.of(pixels[0])
    refuse_huge(size, scale)
    shape = (len(pixels), *hr_size(size, scale))
    images = _Images(executor, pixels, scale, request)
    cost = executor.bundle.manifest.costs.cost_table(scale)
    rule = rule_of(request, cost, images.classify, images.watch)
    whole = Rows(
        take((*shape, 3), layout.working_dtype), take(shape, np.uint8), take(shape, np.float32)
    )
    routed = images.compose(rule, whole)
    watches = [images.watch, *images.watches]
    stats = Stats.timed(
        lambda: summed_stages(watch.stage_ms for watch in watches),
        lr_size=size,
        hr_size=shape[1:],
        pixels_per_upsampler=tuple(np.sum([each.counts for each in routed], axis=0).tolist()),
        threshold=routed[0].threshold,
        total_ms=images.watch.total_ms,
    )
    image = whole.pixels.astype(layout.dtype, copy=False)  # its byte order may be foreign
    return Result(image, whole.assignment, whole.difficulty, stats, executor.bundle.upsamplers)


class _Images:
    """The images of a batch between their classification and their composition. What was computed
    of the first ones is kept, as much as one large image may keep; of the others it is computed
    again.
    """

    def __init__(
        self, executor: HostUpscaler, pixels: Pixels, scale: float, request: RoutingRequest
    ) -> None:
        self._executor, self._pixels = executor, pixels
        self._scale, self._request = scale, request
        self._layout, self._size = Layout.of(pixels[0]), size_of(pixels[0])
        self.watch = Stopwatch()
        self.watches = [Stopwatch() for _ in pixels]
        self._runs: dict[int, BandedRun] = {}

    def classify(self, statistics: Collector) -> None:
        """Classifies the pixels of all images."""

        def work(executor: Executor, index: int) -> None:
            if index not in self._runs:
                self._runs[index] = self._begun(executor, index)
            self._runs[index].classify(statistics)

        self._over_all(work)

    def compose(self, rule: Rule, whole: Rows) -> Sequence[Routed]:
        """Computes all images, and forgets what was kept of them."""
        routed: dict[int, Routed] = {}

        def work(_: Executor, index: int) -> None:
            output = ArrayOutput(Rows(*(array[index] for array in whole)))
            routed[index] = self._runs.pop(index).compose(rule, output)

        self._over_all(work)
        return [routed[index] for index in range(len(self._pixels))]

    def _over_all(self, work: Callable[[Executor, int], None]) -> None:
        self._executor.over_images(len(self._pixels), self._size, work)

    def _begun(self, executor: Executor, index: int) -> BandedRun:
        assert isinstance(executor, HostUpscaler)
        pipeline = executor.pipeline
        assert isinstance(pipeline, NativePipeline)
        task = executor.task(self._pixels[index], self._layout, self._scale, self._request)
        kept_bytes = pipeline.planner.kept_bytes(pipeline.shape(self._size, self._scale).grid)
        keeps = (index + 1) * kept_bytes + LEAST_TILE_BYTES <= WORKING_BYTES
        return BandedRun(pipeline, task, self.watches[index], keeps=keeps)
