"""The pipeline of backend `native`: the backbone runs in ONNX Runtime, everything behind it in
compiled passes over bands of rows, so that an image of any size runs in bounded memory.

Without statistics of the whole image (mode k) each band is computed once. ADM and heavy_ratio
classify all bands first; the features are kept for the second pass where they are small enough,
else computed again.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from pcsr.bundle import Bundle
from pcsr.manifest import Costs
from pcsr.runtime.geometry.grid import Floats, Grid
from pcsr.runtime.geometry.tiling import Tile, seen_pixels
from pcsr.runtime.mlps import load_mlps
from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.process.memory import ReusedMemory
from pcsr.runtime.routing.rule import Rule, fixed_rule, refined_below
from pcsr.runtime.timing import Stopwatch, ThreadSpans

from .composing.composer import Composer
from .composing.finishing import Finishing, parted
from .composing.held_rows import HeldRows
from .output import Output
from .passes import FeatureBand, PixelPasses, has_bf16
from .pipeline import Routed, Runner, Size, Task, cuts_exactly
from .planning import BandPlanner
from .statistics import Collector, rule_of
from .workers import Workers

LOG = logging.getLogger("pcsr.upscaler")
PIXELS_PER_CHUNK = 32768
KEPT_SHAPES = 8
KEPT_RULES = 8


@dataclass(frozen=True)
class Shape:
    """What images of one size need at one scale."""

    grid: Grid
    composer: Composer
    cost: Floats
    """[M] cost table."""
    fixed_rule: Callable[[float], Rule]
    """Gives the rule of a k."""

    @classmethod
    def make(
        cls, costs: Costs, composer: Callable[[Grid], Composer], size: Size, scale: float
    ) -> "Shape":
        """Makes it for images of (height, width). composer: makes that of a grid."""
        grid, cost = Grid.make(size, scale), costs.cost_table(scale)
        return cls(grid, composer(grid), cost, lru_cache(KEPT_RULES)(partial(fixed_rule, cost)))


class NativePipeline:
    """Upscales one image after another with one network. Safe to call from several threads.

    composer: makes what composes the rows of a grid.

    bf16: whether the MLPs' products are computed in bfloat16, where the passes have instructions
    for it.
    """

    def __init__(
        self,
        bundle: Bundle,
        runner: Runner,
        workers: Workers,
        tile_px: int | None = None,
        bf16: bool = False,
    ) -> None:
        model = bundle.manifest.model
        self.planner, self.depth = BandPlanner(model, tile_px), model.feature_width
        self.mixes_bases = len({upsampler.base for upsampler in model.upsamplers}) > 1
        self.count = bundle.upsamplers
        self.bf16 = bf16 and has_bf16()
        mlps = load_mlps(bundle)
        self.memory = memory = ReusedMemory()
        count, passes_of = self.count, partial(PixelPasses, mlps, depth=self.depth, bf16=self.bf16)

        def composer(
            grid: Grid,
        ) -> Composer:  # refers to no pipeline, which ends with its last user
            return Composer(grid, passes_of(grid), count, memory)

        self.composer = composer
        self.shape = lru_cache(KEPT_SHAPES)(partial(Shape.make, bundle.manifest.costs, composer))
        self.workers, self._runner = workers, runner
        self.cuts_exactly = cuts_exactly(runner)

    def run(self, task: Task, output: Output, watch: Stopwatch) -> Routed:
        with watch.stage("prepare"):
            banded = BandedRun(self, task, watch)
        LOG.debug("%s: %s", task.size, banded)
        return banded.compose(banded.rule(), output)

    def backbone_px(self, size: tuple[int, int], scale: float) -> int:
        bands, keeps = self.planner.plan(self.shape((size[0], size[1]), scale).grid, True)
        return (1 if keeps else 2) * sum(map(seen_pixels, bands.tiles))

    def features(
        self,
        tiles: tuple[Tile, ...],
        image: Floats,
        width: int,
        reach_px: int,
        cancellation: Cancellation | None = None,
    ) -> tuple[Floats, int]:
        """Computes the features [D, n, w] of a band, tile by tile, with `reach_px` rows above and
        below where the image has them; also says which input row is the first.

        image: [1, 3, m, w], the rows that the tiles see. width: w of the whole image.
        """
        inner, seen = tiles[0].inner[0], tiles[0].crop[0]
        rows = slice(max(0, inner.start - reach_px), min(image.shape[2], inner.stop + reach_px))
        top = seen.start + rows.start
        if len(tiles) == 1:
            whole = self.encode(np.ascontiguousarray(image), cancellation)
            return np.ascontiguousarray(whole[:, rows]), top
        out = self.memory.take((self.depth, rows.stop - rows.start, width), np.float32)
        for tile in tiles:
            crop = np.ascontiguousarray(image[..., tile.crop[1]])
            out[..., tile.core[1]] = self.encode(crop, cancellation)[:, rows, tile.inner[1]]
        return out, top

    def encode(self, image: Floats, cancellation: Cancellation | None) -> Floats:
        """Computes the features [D, h, w] of an image or a tile [1, 3, h, w]."""
        (found,) = self._runner.run_image("backbone", image, ("features",), cancellation)
        features: Floats = found[0]
        return features


class BandedRun:
    """Runs one image, or some of its rows, through a pipeline, band by band: `rule` is the first
    pass, where one is needed, and `compose` the last.

    An input of 100 rows at scale 2, in two bands: the features of input rows 0-49 make output rows
    0-99, of which 0-98 are finished; row 99 is refined beside row 100. The
    features of rows 50-99 make output rows 100-199, and rows 99-199 are finished.

    part: the output rows that are wanted, if not all. One more is composed on each side, beside
    which they are refined.

    keeps: whether what `classify` computed may be kept for `compose`, where memory has room.
    """

    def __init__(
        self,
        pipeline: NativePipeline,
        task: Task,
        watch: Stopwatch,
        part: slice | None = None,
        keeps: bool = True,
    ) -> None:
        self._pipeline, self._task, self._watch = pipeline, task, watch
        self._count = pipeline.count
        shape = pipeline.shape(task.size, task.scale)
        self._shape, self._grid, self._composer = shape, shape.grid, shape.composer
        self._refined_below = refined_below(task.request, self._count)
        self._kept: dict[int, _Classified] = {}
        self._two_passes = task.request.needs_statistics and self._count > 1
        self._wanted = part or slice(0, self._grid.hr_size[0])
        self._composed = composed_rows(self._grid, self._wanted)
        lr_part = part and self._grid.lr_rows(self._composed)
        self._bands, fits = pipeline.planner.plan(self._grid, self._two_passes, lr_part)
        self._keeps = keeps and fits
        self._reach_px = pipeline.planner.reach_px(self._grid)

    def __str__(self) -> str:
        tiles = sum(map(len, self._bands.tiles))
        kept = "features kept" if self._keeps else "nothing kept"
        return f"{len(self._bands.rows)} bands, {tiles} tiles, {kept}"

    def rule(self) -> Rule:
        """Makes the rule of routing; classifies all pixels where the request needs that."""
        if not self._two_passes:
            return self._shape.fixed_rule(self._task.request.cost_weight)
        return rule_of(self._task.request, self._shape.cost, self.classify, self._watch)

    def compose(self, rule: Rule, output: Output) -> Routed:
        """Computes and hands on the output rows: the second pass, or the only one."""
        counts = [[0] * self._count]
        threshold, finished = None, self._wanted.start
        refinement = self._refined_below, self._count
        width = self._grid.hr_size[1]
        held: HeldRows | None = None
        for index, lr_rows in enumerate(self._bands.rows):
            rows = _common(self._grid.hr_rows(lr_rows), self._composed)
            known = self._kept.pop(index, None) or _Classified(self._band(index), {})
            is_last = rows.stop == self._composed.stop
            stop = self._wanted.stop if is_last else max(finished, rows.stop - 1)
            with output.rows(finished, stop) as target:
                with self._watch.stage("prepare"):
                    size = rows.stop - rows.start, width
                    memory = self._pipeline.memory
                    held = held.followed_by(size[0]) if held else HeldRows(memory, *size, target)
                finishing = Finishing(held, rows.stop, target, slice(finished, stop), *refinement)
                with self._watch.shared() as spans:
                    threshold = self._fill(known, rows, rule, held, finishing, spans)
                counts += finishing.counts
            del target, known, finishing  # large; the next are made before they are named
            finished = stop
        return Routed(np.array([*map(sum, zip(*counts, strict=True))]), threshold)

    def _fill(
        self,
        known: "_Classified",
        rows: slice,
        rule: Rule,
        held: HeldRows,
        finishing: Finishing,
        spans: ThreadSpans,
    ) -> float | None:
        """Routes, composes and finishes the band's output rows, and returns the threshold."""
        thresholds: list[float | None] = []
        chunks = self._chunks(rows)
        inner, seams = parted(chunks, finishing.rows)

        def work(part: slice) -> None:
            # Of the rows held, those of the band come last.
            target = held.part(slice(part.start - rows.stop, (part.stop - rows.stop) or None))
            logits = known.logits.get(part.start)
            thresholds.append(self._composer.fill(known.band, part, rule, target, spans, logits))
            finishing(inner[part.start], spans)

        def finish(part: slice) -> None:
            for seam in seams[part]:
                finishing(seam, spans)

        workers = self._pipeline.workers
        workers.over_ranges(chunks, work)
        workers.over_rows((len(seams), 2 * self._grid.hr_size[1]), finish, _chunk_pixels(workers))
        return thresholds[0] if thresholds else None

    def _chunks(self, rows: slice) -> list[slice]:
        return self._grid.chunks(rows, _chunk_pixels(self._pipeline.workers))

    def classify(self, statistics: Collector) -> None:
        """Classifies all pixels of the rows that are wanted."""
        for index in range(len(self._bands.rows)):
            self._classify(index, statistics)

    def _classify(self, index: int, statistics: Collector) -> None:
        known = self._kept.get(index) or _Classified(self._band(index), {})
        with self._watch.shared() as spans:

            def work(part: slice) -> None:
                with spans.stage("classifier"):
                    logits = self._logits(known, part)
                with spans.stage("routing"):
                    statistics.add(logits.reshape(len(logits), -1).T)
                if self._keeps:
                    known.logits[part.start] = logits

            rows = _common(self._grid.hr_rows(self._bands.rows[index]), self._wanted)
            self._pipeline.workers.over_ranges(self._chunks(rows), work)
        if self._keeps:
            self._kept[index] = known

    def _logits(self, known: "_Classified", rows: slice) -> Floats:
        logits = known.logits.get(rows.start)
        return self._composer.logits(known.band, rows) if logits is None else logits

    def _band(self, index: int) -> FeatureBand:
        rows, tiles = self._bands.rows[index], self._bands.tiles[index]
        height, width = self._task.size
        top, bottom = max(0, rows.start - 1), min(height, rows.stop + 1)
        seen = tiles[0].crop[0]
        first, stop = min(top, seen.start), max(bottom, seen.stop)
        with self._watch.stage("prepare"):
            image = self._task.read(first, stop)
        with self._watch.stage("backbone"):
            crop = image[:, :, seen.start - first : seen.stop - first]
            features, features_top = self._pipeline.features(
                tiles, crop, width, self._reach_px, self._watch.cancellation
            )
        return FeatureBand(features, features_top, image[0], first)


class _Classified(NamedTuple):
    """A band and what is known of its routing."""

    band: FeatureBand
    logits: dict[int, Floats]
    """What the classifier gave, by the first output row of each chunk."""


def composed_rows(grid: Grid, wanted: slice) -> slice:
    """Gives the output rows that some are made of: these and those they are refined beside."""
    return slice(max(0, wanted.start - 1), min(grid.hr_size[0], wanted.stop + 1))


def _chunk_pixels(workers: Workers) -> int:
    """Gives twice as many to one thread: a 64x64 image at scale 4 is one chunk then."""
    return PIXELS_PER_CHUNK if workers.threads > 1 else 2 * PIXELS_PER_CHUNK


def _common(rows: slice, others: slice) -> slice:
    return slice(max(rows.start, others.start), min(rows.stop, others.stop))
