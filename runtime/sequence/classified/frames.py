"""Computes frames whose rule is that of the whole frame.

Features, logits and pixels as they were composed are kept. Of the next frame, those are computed
again that a change reaches, and what its rule is made of follows them. The threshold moves: pixels
whose upsampler is another one are composed again, one by one, of the features that were kept.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.cpu.composing.again import Mask, finish_fresh, relabel
from pcsr.runtime.cpu.composing.composer import Composer
from pcsr.runtime.cpu.native_pipeline import PIXELS_PER_CHUNK, NativePipeline
from pcsr.runtime.cpu.passes import FeatureBand, Labels, finish, sigmoid
from pcsr.runtime.cpu.planning import LEAST_TILE_BYTES, WORKING_BYTES
from pcsr.runtime.geometry.tiling import Tile, Window
from pcsr.runtime.geometry.windows import Dependencies, grown, within
from pcsr.runtime.layout import Layout
from pcsr.runtime.machine import available_bytes
from pcsr.runtime.process.memory import ReusedMemory
from pcsr.runtime.routing.rule import Rule, difficulty_logit, refined_below
from pcsr.runtime.sequence.calls import Call, Clock
from pcsr.runtime.sequence.made import Made, Versions
from pcsr.runtime.sequence.patches import Size
from pcsr.runtime.timing import Stopwatch, ThreadSpans

from .counts import FrameCounts
from .kept import Kept, by_pixel, kept_bytes

Pixels = NDArray[Any]
Work = Callable[[slice], None]


class _Part(NamedTuple):
    """Output pixels that a change reaches, and what makes them."""

    window: Window
    composer: Composer
    band: FeatureBand


class _Next(NamedTuple):
    """A frame that is being made."""

    image: Pixels
    labels: Labels
    difficulty: NDArray[np.float32]
    fresh: Mask
    """Pixels that are composed again."""


class ClassifiedFrames:
    """Computes the frames of one size; see above."""

    def __init__(self, pipeline: NativePipeline, size: Size, call: Call, halo_px: int) -> None:
        self._pipeline, self.halo_px = pipeline, halo_px
        shape = pipeline.shape(size, call.scale)
        self._grid, self._cost = shape.grid, shape.cost
        self._reads = Dependencies(self._grid, pipeline.planner.has_sides)
        self._composer = shape.composer
        self._refined_below = refined_below(call.request, pipeline.count)
        self._chunks = self._grid.chunks(slice(0, self._grid.hr_size[0]), PIXELS_PER_CHUNK)
        self._kept = Kept.empty(pipeline, self._grid)
        self._counts = FrameCounts(pipeline.workers, self._chunks)
        self._versions = Versions(pipeline.workers, ReusedMemory())
        self.crop_px = pipeline.planner.crop_pixels(
            kept_bytes=kept_bytes(pipeline, size, call.scale)
        )

    @staticmethod
    def fits(pipeline: NativePipeline, size: Size, scale: float) -> bool:
        """Tells whether what is kept leaves memory for a tile."""
        budget = min(WORKING_BYTES, available_bytes() // 2)
        return kept_bytes(pipeline, size, scale) + LEAST_TILE_BYTES <= budget

    def whole(self, frame: Pixels, call: Call, clock: Clock) -> Made:
        size, watch, layout = self._grid.lr_size, clock.watch, Layout.of(frame)
        with watch.stage("prepare"):
            self._kept.image = layout.to_network(frame)[0]
            bands, _ = self._pipeline.planner.plan(self._grid, True)
            self._counts.clear()
            take, shape = self._pipeline.memory.take, self._grid.hr_size
            image = take((*shape, *frame.shape[2:]), layout.dtype)
            made = Made(image, take(shape, np.uint8), take(shape, np.float32), (), None)
            assert made.assignment is not None
            made.assignment[:] = 0
        self._encode([tile for tiles in bands.tiles for tile in tiles], watch)
        counts = np.zeros(self._pipeline.count, dtype=np.int64)
        counts[0] = self._grid.pixels
        everything = slice(0, size[0]), slice(0, size[1])
        made, _, _ = self._routed(frame, [everything], made, counts, call, watch)
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
        with watch.stage("copy"):
            arrays, counts = self._versions.follow(before), np.array(before.counts, dtype=np.int64)
        made, where, share = self._routed(frame, cores, arrays, counts, call, watch)
        self._versions.changed(made, where)
        return made, share

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

    def _routed(
        self,
        frame: Pixels,
        cores: Sequence[Window],
        arrays: Made,
        counts: NDArray[np.int64],
        call: Call,
        watch: Stopwatch,
    ) -> tuple[Made, list[Window], float]:
        """Routes all pixels, and makes those again whose features or upsampler are others, in the
        arrays of the frame before. Also gives where these lie, and the share of the others.
        """
        image, labels, difficulty = arrays.image, arrays.assignment, arrays.difficulty
        assert labels is not None
        assert difficulty is not None
        with watch.stage("prepare"):
            parts = [self._part(core) for core in cores]
            fresh = self._pipeline.memory.take(labels.shape, np.bool_)
            fresh[:] = False
            following = _Next(image, labels, difficulty, fresh)
        by_logit = call.request.heavy_ratio is not None
        for part in parts:
            self._classify(part, difficulty, by_logit, watch)
        with watch.stage("routing"):
            keys = self._keys(difficulty, by_logit)
            rule = self._counts.rule(call.request, self._cost, self._grid.pixels, keys)
        counts += self._relabel(rule, following, watch)
        where = self._compose(parts, following, watch)
        self._finish(frame, following, watch)
        numbers = tuple(int(count) for count in counts)
        made = Made(image, labels, difficulty, numbers, rule.threshold)
        return made, where, 1 - int(np.count_nonzero(fresh)) / fresh.size

    def _part(self, lr: Window) -> _Part:
        """Gives what makes the output pixels that some features reach."""
        hr = self._reads.outputs(lr)
        if hr[1] == slice(0, self._grid.hr_size[1]):
            return _Part(hr, self._composer, self._kept.band)
        lr = self._reads.inputs(hr)
        composer = self._pipeline.composer(self._reads.columns(hr[1], lr[1]))
        return _Part(hr, composer, self._kept.part(lr))

    def _over(self, part: _Part, work: Work) -> None:
        chunks = part.composer.grid.chunks(part.window[0], PIXELS_PER_CHUNK)
        self._pipeline.workers.over_ranges(chunks, work)

    def _classify(
        self, part: _Part, difficulty: NDArray[np.float32], by_logit: bool, watch: Stopwatch
    ) -> None:
        """Computes logits and difficulties, and moves the counts to them."""
        with watch.shared() as spans:

            def work(rows: slice) -> None:
                window = rows, part.window[1]
                with spans.stage("classifier"):
                    logits = part.composer.logits(part.band, rows)
                with spans.stage("routing"):
                    logit = difficulty_logit(by_pixel(logits))
                    found = sigmoid(logit)
                    if self._counts and by_logit:
                        self._counts.move(self._kept.difficulty_logit(window), logit, True)
                    elif self._counts:
                        before = np.ascontiguousarray(difficulty[window]).reshape(-1)
                        self._counts.move(before, found, False)
                    self._kept.logits[:, *window] = logits
                    difficulty[window] = found.reshape(logits.shape[1:])

            self._over(part, work)

    def _keys(
        self, difficulty: NDArray[np.float32], by_logit: bool
    ) -> Callable[[slice], NDArray[np.float32]]:
        columns = slice(0, self._grid.hr_size[1])
        if by_logit:
            return lambda rows: self._kept.difficulty_logit((rows, columns))
        return lambda rows: difficulty[rows].reshape(-1)

    def _relabel(self, rule: Rule, following: _Next, watch: Stopwatch) -> NDArray[np.int64]:
        """Labels all pixels; returns by how much the counts of upsamplers grew."""
        limits, found = rule.limits, list[NDArray[np.int64]]()
        keys = self._keys(following.difficulty, rule.bounds is None)
        with watch.shared() as spans:

            def work(rows: slice) -> None:
                labels, fresh = following.labels[rows].reshape(-1), following.fresh[rows]
                with spans.stage("routing"):
                    if limits is not None:
                        found.append(relabel(keys(rows), limits, labels, fresh.reshape(-1)))
                        return
                    routing = rule(by_pixel(self._kept.logits[:, rows]), sigmoid)
                    fresh[:] = (routing.assignment != labels).reshape(fresh.shape)
                    counts = (
                        np.bincount(each, minlength=self._pipeline.count)
                        for each in (routing.assignment, labels)
                    )
                    found.append(np.subtract(*counts))
                    labels[:] = routing.assignment

            self._pipeline.workers.over_ranges(self._chunks, work)
        grown_by: NDArray[np.int64] = np.sum(found, axis=0)
        return grown_by

    def _compose(self, parts: list[_Part], following: _Next, watch: Stopwatch) -> list[Window]:
        """Composes fresh pixels one by one, and all of the parts, which are fresh then. Gives
        windows that all of these lie in, and those that are refined beside them.
        """
        size, fresh = self._grid.hr_size, following.fresh
        has_fresh = np.zeros(size[0], dtype=np.bool_)
        for part in parts:
            fresh[part.window] = False
        with watch.shared() as spans:

            def listed(rows: slice) -> None:
                has_fresh[rows] = fresh[rows].any(axis=1)
                if has_fresh[rows].any():
                    here = following.labels[rows], fresh[rows], self._kept.planes[:, rows]
                    self._composer.compose_listed(self._kept.band, rows, *here, spans)

            self._pipeline.workers.over_ranges(self._chunks, listed)
            for part in parts:
                self._over(part, partial(self._compose_part, part, following.labels, spans))
        where = [part.window for part in parts]
        for window in where:
            fresh[window] = True
        where += [(rows, slice(0, size[1])) for rows in _runs(has_fresh)]
        return [grown(window, 1, size) for window in where]

    def _compose_part(self, part: _Part, labels: Labels, spans: ThreadSpans, rows: slice) -> None:
        columns, planes = part.window[1], self._kept.planes
        if part.composer is self._composer:
            part.composer.compose(part.band, rows, labels[rows], planes[:, rows], spans)
            return
        with spans.stage("compose"):
            own = np.ascontiguousarray(labels[rows, columns])
            made = np.empty((3, *own.shape), dtype=np.float32)
        part.composer.compose(part.band, rows, own, made, spans)
        with spans.stage("compose"):
            planes[:, rows, columns] = made

    def _finish(self, frame: Pixels, following: _Next, watch: Stopwatch) -> None:
        """Finishes fresh pixels, and those beside them."""
        layout, size, planes = Layout.of(frame), self._grid.hr_size, self._kept.planes
        image, labels, fresh = following.image, following.labels, following.fresh
        rgb = image.reshape(*size, -1)
        is_direct = layout.working_dtype == layout.dtype and not layout.is_gray

        def work(rows: slice) -> None:
            with spans.stage("refinement"):
                here = fresh[max(0, rows.start - 1) : rows.stop + 1]
                if not here.any():
                    return
                if is_direct and not here.all():
                    finish_fresh(planes, labels, fresh, rows, self._refined_below, image[rows])
                    return
                shape = (len(labels[rows]), size[1], 3)
                pixels = image[rows] if is_direct else np.empty(shape, layout.working_dtype)
                finish(planes, labels, rows, self._refined_below, pixels)
                if not is_direct:
                    rgb[rows] = layout.from_network(pixels) if layout.is_gray else pixels

        with watch.shared() as spans:
            self._pipeline.workers.over_rows(size, work, PIXELS_PER_CHUNK)


def _runs(flags: NDArray[np.bool_]) -> list[slice]:
    """Gives the runs of lines that are set."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
