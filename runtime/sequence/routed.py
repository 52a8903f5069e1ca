"""Rectangles of a PCSR network's results, where each pixel is routed by itself (mode k)."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pcsr.runtime.cpu.composing.composer import Composer, Unrefined
from pcsr.runtime.cpu.composing.held_rows import HeldRows
from pcsr.runtime.cpu.native_pipeline import PIXELS_PER_CHUNK, NativePipeline
from pcsr.runtime.cpu.output import Rows
from pcsr.runtime.cpu.passes import FeatureBand, finish
from pcsr.runtime.geometry.tiling import Window
from pcsr.runtime.geometry.windows import Dependencies, grown, within
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import fixed_rule, refined_below
from pcsr.runtime.timing import Stopwatch, ThreadSpans

from .patches import Patch, Read, Size


class _Place(NamedTuple):
    """Where a change shows: windows of the input, then of the output."""

    crop: Window
    """What the backbone sees."""
    features: Window
    """The features that are used."""
    composed: Window
    """The finished pixels and those they are refined beside."""
    finished: Window


class RoutedPatches:
    """Rectangles of a PCSR network's results by a fixed rule.

    A pixel of the output is finished again where it, or one beside it, reads a feature that looks
    at an input pixel which changed. Nothing is kept: of the pixels around these all is computed
    again that they need.
    """

    def __init__(
        self,
        pipeline: NativePipeline,
        size: Size,
        scale: float,
        request: RoutingRequest,
        halo_px: int,
    ) -> None:
        shape = pipeline.shape(size, scale)
        self._pipeline, self._grid, self.halo_px = pipeline, shape.grid, halo_px
        self._reads = Dependencies(self._grid, pipeline.planner.has_sides)
        self._rule = fixed_rule(shape.cost, request.cost_weight)
        self._refined_below = refined_below(request, pipeline.count)

    @property
    def crop_px(self) -> int:
        return self._pipeline.planner.crop_pixels()

    def patches(
        self, read: Read, changed: Sequence[Window], dtype: np.dtype[Any], watch: Stopwatch
    ) -> Iterator[Patch]:
        for window in changed:
            yield self._patch(read, window, dtype, watch)

    def _patch(self, read: Read, changed: Window, dtype: np.dtype[Any], watch: Stopwatch) -> Patch:
        with watch.stage("prepare"):
            place = self._place(changed)
            image = read(place.crop)
            rows, columns = place.composed
            composer = self._pipeline.composer(self._reads.columns(columns, place.features[1]))
            height, width = rows.stop - rows.start, columns.stop - columns.start
            held = HeldRows(self._pipeline.memory, height, width)
        with watch.stage("backbone"):
            inner = within(place.features, place.crop)
            features = self._pipeline.encode(image, watch.cancellation)[:, *inner]
            top = place.features[0].start
            band = FeatureBand(
                np.ascontiguousarray(features),
                top,
                np.ascontiguousarray(image[0][:, *inner]),
                top,
            )
        with watch.shared() as spans:
            threshold = self._fill(composer, band, rows, held, spans)
            return self._finish(held, place, dtype, threshold, spans)

    def _place(self, changed: Window) -> _Place:
        lr_size, hr_size = self._grid.lr_size, self._grid.hr_size
        beside = 1 if self._refined_below else 0
        seen = self._reads.outputs(grown(changed, self.halo_px, lr_size))
        finished = grown(seen, beside, hr_size)
        composed = grown(finished, beside, hr_size)
        features = self._reads.inputs(composed)
        return _Place(grown(features, self.halo_px, lr_size), features, composed, finished)

    def _fill(
        self,
        composer: Composer,
        band: FeatureBand,
        rows: slice,
        held: HeldRows,
        spans: ThreadSpans,
    ) -> float | None:
        thresholds: list[float | None] = []

        def work(part: slice) -> None:
            local = slice(part.start - rows.start, part.stop - rows.start)
            target = Unrefined(held.planes[:, local], held.labels[local], held.difficulty[local])
            thresholds.append(composer.fill(band, part, self._rule, target, spans))

        self._pipeline.workers.over_ranges(composer.grid.chunks(rows, PIXELS_PER_CHUNK), work)
        return thresholds[0]

    def _finish(
        self,
        held: HeldRows,
        place: _Place,
        dtype: np.dtype[Any],
        threshold: float | None,
        spans: ThreadSpans,
    ) -> Patch:
        rows, columns = within(place.finished, place.composed)
        pixels = np.empty((rows.stop - rows.start, held.labels.shape[1], 3), dtype=dtype)

        def work(part: slice) -> None:
            local = slice(rows.start + part.start, rows.start + part.stop)
            with spans.stage("refinement"):
                finish(held.planes, held.labels, local, self._refined_below, pixels[part])

        self._pipeline.workers.over_rows(pixels.shape[:2], work, PIXELS_PER_CHUNK)
        labels, difficulty = held.labels[rows, columns], held.difficulty[rows, columns]
        made = Rows(pixels[:, columns], labels, difficulty)
        return Patch(place.finished, made, threshold)
