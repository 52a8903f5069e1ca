"""Frames whose rule is that of the whole frame: ADM and a share of heavy pixels.

Features, logits and pixels as they were composed are kept. Of the next frame, those are computed
again that a change reaches; then its rule is made of all logits, and pixels whose upsampler is
another one are composed of the features that were kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pcsr.manifest import classifier_outputs
from pcsr.runtime.cpu.composing.composer import Composer, routed
from pcsr.runtime.cpu.native_pipeline import PIXELS_PER_CHUNK, NativePipeline
from pcsr.runtime.cpu.passes import FeatureBand, Labels, finish
from pcsr.runtime.cpu.planning import LEAST_TILE_BYTES, WORKING_BYTES
from pcsr.runtime.cpu.statistics import Collector, rule_of
from pcsr.runtime.geometry.grid import Floats, Grid, hr_size
from pcsr.runtime.geometry.tiling import Tile, Window
from pcsr.runtime.geometry.windows import Dependencies, grown, within
from pcsr.runtime.layout import Layout
from pcsr.runtime.machine import available_bytes
from pcsr.runtime.routing.rule import refined_below
from pcsr.runtime.timing import Stopwatch, ThreadSpans

from .calls import Call, Clock
from .made import Made
from .patches import Size

Pixels = NDArray[Any]
Mask = NDArray[np.bool_]
NONE = 255  # the upsampler of pixels that are not composed
ALIGNED_PX = 64  # what columns that are composed begin and end at


@dataclass
class _Kept:
    """What is kept of a frame."""

    image: Floats
    """[3, h, w]."""
    features: Floats
    """[D, h, w]."""
    logits: Floats
    """[K, H, W]."""
    planes: Floats
    """[3, H, W] RGB, before refinement."""

    @classmethod
    def empty(cls, pipeline: NativePipeline, grid: Grid) -> Self:
        """Makes its memory."""

        def empty(channels: int, size: Size) -> Floats:
            return np.empty((channels, *size), dtype=np.float32)

        small, large = grid.lr_size, grid.hr_size
        outputs = classifier_outputs(pipeline.count)
        features = empty(pipeline.depth, small)
        return cls(empty(3, small), features, empty(outputs, large), empty(3, large))

    @property
    def band(self) -> FeatureBand:
        """All rows."""
        return FeatureBand(self.features, 0, self.image, 0)

    def part(self, lr: Window) -> FeatureBand:
        """Some input pixels."""
        top = lr[0].start
        features, image = self.features[:, *lr], self.image[:, *lr]
        return FeatureBand(np.ascontiguousarray(features), top, np.ascontiguousarray(image), top)


class ClassifiedFrames:
    """Computes the frames of one size; see above."""

    def __init__(self, pipeline: NativePipeline, size: Size, call: Call, halo_px: int) -> None:
        self._pipeline, self.halo_px = pipeline, halo_px
        shape = pipeline.shape(size, call.scale)
        self._grid, self._cost = shape.grid, shape.cost
        self._reads = Dependencies(self._grid, pipeline.planner.has_sides)
        self._composer = pipeline.composer(shape.grid, shape.passes)
        self._refined_below = refined_below(call.request, pipeline.count)
        self._chunks = self._grid.chunks(slice(0, self._grid.hr_size[0]), PIXELS_PER_CHUNK)
        self._kept = _Kept.empty(pipeline, self._grid)
        self.crop_px = pipeline.planner.crop_pixels(
            kept_bytes=_kept_bytes(pipeline, size, call.scale)
        )

    @staticmethod
    def fits(pipeline: NativePipeline, size: Size, scale: float) -> bool:
        """Tells whether what is kept leaves memory for a tile."""
        budget = min(WORKING_BYTES, available_bytes() // 2)
        return _kept_bytes(pipeline, size, scale) + LEAST_TILE_BYTES <= budget

    def whole(self, frame: Pixels, call: Call, clock: Clock) -> Made:
        size, watch = self._grid.lr_size, clock.watch
        everything = slice(0, size[0]), slice(0, size[1])
        with watch.stage("prepare"):
            self._kept.image = Layout.of(frame).to_network(frame)[0]
            bands, _ = self._pipeline.planner.plan(self._grid, True)
        self._encode([tile for tiles in bands.tiles for tile in tiles], watch)
        self._classify(everything, watch)
        made, _ = self._routed(frame, [everything], None, call, watch)
        return made

    def changed(
        self, frame: Pixels, windows: Sequence[Window], before: Made, call: Call, clock: Clock
    ) -> tuple[Made, float]:
        size, watch, layout = self._grid.lr_size, clock.watch, Layout.of(frame)
        with watch.stage("prepare"):
            for window in windows:
                self._kept.image[:, *window] = layout.to_network(frame[window])[0]
        cores = [grown(window, self.halo_px, size) for window in windows]
        crops = [grown(core, self.halo_px, size) for core in cores]
        each = zip(crops, cores, strict=True)
        self._encode([Tile(crop, core, within(core, crop)) for crop, core in each], watch)
        for core in cores:
            self._classify(core, watch)
        return self._routed(frame, cores, before, call, watch)

    def _encode(self, tiles: Sequence[Tile], watch: Stopwatch) -> None:
        """Computes the features of tiles."""
        for tile in tiles:
            with watch.stage("backbone"):
                crop = np.ascontiguousarray(self._kept.image[None, :, *tile.crop])
                found = self._pipeline.encode(crop, watch.cancellation)
                if found.shape == self._kept.features.shape and len(tiles) == 1:
                    self._kept.features = found
                else:
                    self._kept.features[:, *tile.core] = found[:, *tile.inner]

    def _classify(self, lr: Window, watch: Stopwatch) -> None:
        """Computes the logits of the output pixels that some features reach."""
        rows, columns = self._reads.outputs(lr)
        composer, band = self._cut((rows, columns))

        with watch.shared() as spans:

            def work(part: slice) -> None:
                with spans.stage("classifier"):
                    self._kept.logits[:, part, columns] = composer.logits(band, part)

            chunks = composer.grid.chunks(rows, PIXELS_PER_CHUNK)
            self._pipeline.workers.over_ranges(chunks, work)

    def _cut(self, hr: Window) -> tuple[Composer, FeatureBand]:
        """Gives what composes some output pixels, and what they are composed of."""
        if hr[1] == slice(0, self._grid.hr_size[1]):
            return self._composer, self._kept.band
        lr = self._reads.inputs(hr)
        return self._pipeline.composer(self._reads.columns(hr[1], lr[1])), self._kept.part(lr)

    def _routed(
        self,
        frame: Pixels,
        cores: Sequence[Window],
        before: Made | None,
        call: Call,
        watch: Stopwatch,
    ) -> tuple[Made, float]:
        """Routes all pixels, and composes those whose features or upsampler are others."""
        rule = rule_of(call.request, self._cost, lambda to: self._collect(to, watch), watch)
        with watch.stage("prepare"):
            size = self._grid.hr_size
            take = self._pipeline.memory.take
            labels, difficulty = take(size, np.uint8), take(size, np.float32)
            again = np.zeros(size, dtype=np.bool_)
            for core in cores:
                again[self._reads.outputs(core)] = True
        thresholds: list[float | None] = []
        with watch.shared() as spans:

            def work(part: slice) -> None:
                with spans.stage("routing"):
                    logits = np.ascontiguousarray(self._kept.logits[:, part])
                    thresholds.append(routed(rule, logits, labels[part], difficulty[part]))
                    if before is not None:
                        assert before.assignment is not None
                        again[part] |= labels[part] != before.assignment[part]
                self._compose(part, labels[part], again[part], spans)

            self._pipeline.workers.over_ranges(self._chunks, work)
        image, counts = self._finish(frame, labels, again, before, watch)
        share = 1 - int(np.count_nonzero(again)) / again.size
        return Made(image, labels, difficulty, counts, thresholds[0]), share

    def _collect(self, statistics: Collector, watch: Stopwatch) -> None:
        with watch.shared() as spans:

            def work(part: slice) -> None:
                with spans.stage("routing"):
                    logits = np.ascontiguousarray(self._kept.logits[:, part])
                    statistics.add(logits.reshape(len(logits), -1).T)

            self._pipeline.workers.over_ranges(self._chunks, work)

    def _compose(self, rows: slice, labels: Labels, again: Mask, spans: ThreadSpans) -> None:
        """Composes the pixels of some rows that are chosen."""
        if again.all():
            planes = self._kept.planes[:, rows]
            self._composer.compose(self._kept.band, rows, labels, planes, spans)
            return
        with spans.stage("compose"):
            chosen = np.flatnonzero(again.any(axis=0))
            if not len(chosen):
                return
            first = int(chosen[0]) // ALIGNED_PX * ALIGNED_PX
            stop = min(again.shape[1], -(-(int(chosen[-1]) + 1) // ALIGNED_PX) * ALIGNED_PX)
            columns = slice(first, stop)
            composer, band = self._cut((rows, columns))
            here = again[:, columns]
            own = np.ascontiguousarray(labels[:, columns])
            if not self._pipeline.mixes_bases:
                own = np.where(here, own, np.uint8(NONE))
            planes = np.empty((3, *own.shape), dtype=np.float32)
        composer.compose(band, rows, own, planes, spans)
        with spans.stage("compose"):
            np.copyto(self._kept.planes[:, rows, columns], planes, where=here)

    def _finish(
        self, frame: Pixels, labels: Labels, again: Mask, before: Made | None, watch: Stopwatch
    ) -> tuple[Pixels, tuple[int, ...]]:
        """Finishes rows that hold a pixel that was composed, or lie beside it; copies the others.
        Also counts the pixels of each upsampler.
        """
        layout, (height, width) = Layout.of(frame), self._grid.hr_size
        channels = frame.shape[2:]
        image = self._pipeline.memory.take((height, width, *channels), layout.dtype)
        rgb = image.reshape(height, width, -1)
        found = [np.zeros(self._pipeline.count, dtype=np.int64)]
        has_new: Mask = np.logical_or.reduce(again, axis=1)
        with watch.shared() as spans:

            def work(rows: slice) -> None:
                with spans.stage("refinement"):
                    around = slice(max(0, rows.start - 1), rows.stop + 1)
                    if before is not None and not has_new[around].any():
                        image[rows] = before.image[rows]
                    else:
                        is_it = layout.working_dtype == layout.dtype and not layout.is_gray
                        shape = (len(labels[rows]), width, 3)
                        pixels = image[rows] if is_it else np.empty(shape, layout.working_dtype)
                        finish(self._kept.planes, labels, rows, self._refined_below, pixels)
                        if not is_it:
                            rgb[rows] = layout.from_network(pixels) if layout.is_gray else pixels
                    each = range(self._pipeline.count)
                    counts = [np.count_nonzero(labels[rows] == j) for j in each]
                    found.append(np.array(counts, dtype=np.int64))

            self._pipeline.workers.over_rows((height, width), work, PIXELS_PER_CHUNK)
        return image, tuple(int(count) for count in np.sum(found, axis=0))


def _kept_bytes(pipeline: NativePipeline, size: Size, scale: float) -> int:
    outputs = classifier_outputs(pipeline.count)
    lr, hr = math.prod(size), math.prod(hr_size(size, scale))
    return 4 * ((pipeline.depth + 3) * lr + (outputs + 3) * hr)
