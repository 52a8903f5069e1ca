"""PCSR on the CPU: the backbone in ONNX Runtime, everything behind it in compiled passes over bands
of rows, so that an image of any size runs in bounded memory.

Without statistics of the whole image (mode k) each band is computed once. ADM and heavy_ratio
classify all bands first; the features are kept for the second pass where they are small enough,
else computed again.
"""

import functools
import itertools
import math
import operator
from dataclasses import dataclass
from threading import get_ident, local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BundleError

from .adaptive import Histogram
from .backends import Backend
from .grid import Floats, Grid
from .memory import available_bytes
from .output import Output
from .pipeline import Routed, Task
from .pixels import Band, Labels, PixelPasses, add_to_histogram, finish, read_mlps, sigmoid
from .routing import (
    Mode,
    Rule,
    adaptive_rule,
    difficulty_logit,
    fixed_rule,
    heavy_count,
    ratio_rule,
)
from .tiling import Bands, Tile, square_bands, thrifty_bands
from .timing import Lap, Stopwatch
from .workers import Workers

WORKING_BYTES = 768 * 2**20  # of a backbone tile and kept features together
LEAST_TILE_BYTES = 256 * 2**20
PIXELS_PER_CHUNK = 32768

Counts = NDArray[np.int64]


class NativePipeline:
    """Upscales one image after another with one network. Safe to call from several threads."""

    def __init__(
        self, bundle: Bundle, backend: Backend, workers: Workers, tile_px: int | None = None
    ) -> None:
        model = bundle.manifest.model
        self._halo_px, self.depth = model.receptive_radius_px, model.feature_width
        self._working_bytes_per_px = model.working_bytes_per_px
        self.costs, self.count = bundle.manifest.costs, bundle.upsamplers
        try:
            self.mlps = read_mlps(bundle.mlp_bytes())
        except (KeyError, ValueError, OSError) as error:
            raise BundleError(
                f"{bundle.path}: the weights of the upsamplers cannot be read ({error}); export "
                "the bundle again"
            ) from error
        self.memory = Memory()
        self.workers, self._backend, self._tile_px = workers, backend, tile_px

    def run(self, task: Task, output: Output, watch: Stopwatch) -> Routed:
        frame = _Frame(self, task, watch)
        return frame.compose(frame.rule(), output)

    def bands(self, size: tuple[int, int], kept_bytes: int) -> Bands:
        """How an image is cut where features of `kept_bytes` are held beside a tile."""
        if self._tile_px is not None:
            return square_bands(size, self._halo_px, self._tile_px)
        budget = min(WORKING_BYTES, available_bytes() // 2)
        tile_bytes = max(budget - kept_bytes, min(LEAST_TILE_BYTES, budget))
        return thrifty_bands(size, self._halo_px, int(tile_bytes / self._working_bytes_per_px))

    def features(self, tiles: tuple[Tile, ...], rows: slice, image: Floats, width: int) -> Floats:
        """[D, n, w] of some input rows, tile by tile. image: the rows that the tiles see."""
        if len(tiles) == 1:
            whole = self._encode(np.ascontiguousarray(image))
            return np.ascontiguousarray(whole[:, tiles[0].inner[0]])
        out = np.empty((self.depth, rows.stop - rows.start, width), dtype=np.float32)
        for tile in tiles:
            crop = np.ascontiguousarray(image[..., tile.crop[1]])
            out[..., tile.core[1]] = self._encode(crop)[(slice(None), *tile.inner)]
        return out

    def _encode(self, image: Floats) -> Floats:
        features: Floats = self._backend.run_image("backbone", image, ("features",))[0][0]
        return features


class _Frame:
    """One image on its way through a pipeline."""

    def __init__(self, pipeline: NativePipeline, task: Task, watch: Stopwatch) -> None:
        self._pipeline, self._task, self._watch = pipeline, task, watch
        self._count = pipeline.count
        self._grid = Grid.make(task.size, task.scale)
        self._cost = pipeline.costs.cost_table(task.scale)
        self._passes = PixelPasses(pipeline.mlps, self._grid, pipeline.depth)
        kept_bytes = 4 * pipeline.depth * task.size[0] * task.size[1]
        self._two_passes = task.mode.needs_statistics and self._count > 1
        self._keeps = self._two_passes and kept_bytes + LEAST_TILE_BYTES <= WORKING_BYTES
        self._kept: dict[int, Floats] = {}
        self._bands = pipeline.bands(task.size, kept_bytes if self._keeps else 0)

    def rule(self) -> Rule:
        """How this image's pixels are routed; classifies all of them where the mode needs that."""
        if not self._two_passes:
            return fixed_rule(self._cost, self._task.mode.k)
        statistics = _Statistics(self._task.mode)
        for index in range(len(self._bands.rows)):
            self._classify(index, statistics)
        with self._watch.stage("routing"):
            return statistics.rule(self._cost)

    def compose(self, rule: Rule, output: Output) -> Routed:
        """The second pass, or the only one."""
        counts = np.zeros(self._count, dtype=np.int64)
        threshold, held = None, _Held.nothing(self._pipeline.memory, self._grid.hr_size[1])
        refine_below = heavy_count(self._count) if self._task.refine and self._count > 1 else 0
        for index in range(len(self._bands.rows)):
            band, rows = self._band(index), self._hr_rows(self._bands.rows[index])
            held = held.followed_by(rows.stop - rows.start)
            with self._watch.shared() as lap:
                threshold = self._fill(band, rows, rule, held, counts, lap)
                self._hand_over(held, rows.stop, refine_below, output, lap)
            self._kept.pop(index, None)
        return Routed(counts, threshold)

    def _fill(
        self, band: Band, rows: slice, rule: Rule, held: "_Held", counts: Counts, lap: Lap
    ) -> float | None:
        """The band's output rows, routed and composed; returns the threshold."""
        thresholds: list[float | None] = []
        found: list[list[int]] = []

        def work(first: int, stop: int) -> None:
            local = slice(
                first - rows.stop, (stop - rows.stop) or None
            )  # the band's rows come last
            labels = held.labels[local]
            if self._count == 1:
                labels[:], held.difficulty[local] = 0, 1
            else:
                with lap.stage("classifier"):
                    logits = self._passes.logits(band, slice(first, stop))
                with lap.stage("routing"):
                    routing = rule(logits.reshape(len(logits), -1).T, sigmoid)
                    labels[:] = routing.assignment.reshape(labels.shape)
                    held.difficulty[local] = routing.difficulty.reshape(labels.shape)
                    thresholds.append(routing.threshold)
            found.append([int(np.count_nonzero(labels == j)) for j in range(self._count)])
            with lap.stage("upsamplers"):
                self._passes.compose(band, slice(first, stop), labels, held.planes[:, local])

        self._pipeline.workers.over_ranges(self._chunks(rows, band.top), work)
        counts += np.sum(found, axis=0)
        return thresholds[0] if thresholds else None

    def _hand_over(
        self, held: "_Held", stop: int, refine_below: int, output: Output, lap: Lap
    ) -> None:
        """Finishes the rows whose neighbours are there. `stop`: the image row behind those held."""
        height = self._grid.hr_size[0]
        first_held = stop - len(held.labels)
        first = 0 if first_held == 0 else first_held + 1
        last = height if stop == height else stop - 1
        target = output.rows(first, last)

        def work(start: int, end: int) -> None:
            local = slice(start - first_held, end - first_held)
            part = slice(start - first, end - first)
            with lap.stage("refinement"):
                finish(held.planes, held.labels, local, refine_below, target.pixels[part])
                target.assignment[part] = held.labels[local]
                target.difficulty[part] = held.difficulty[local]

        step = max(1, PIXELS_PER_CHUNK // self._grid.hr_size[1])
        ranges = [(i, min(i + step, last)) for i in range(first, last, step)]
        self._pipeline.workers.over_ranges(ranges, work)
        output.done(first, last)

    def _classify(self, index: int, statistics: "_Statistics") -> None:
        band, rows = self._band(index), self._hr_rows(self._bands.rows[index])
        chunks = self._chunks(rows, band.top)
        with self._watch.shared() as lap:

            def work(first: int, stop: int) -> None:
                with lap.stage("classifier"):
                    found = self._passes.logits(band, slice(first, stop))
                with lap.stage("routing"):
                    statistics.add(found.reshape(len(found), -1).T)

            self._pipeline.workers.over_ranges(chunks, work)
        if self._keeps:
            self._kept[index] = band.features

    def _band(self, index: int) -> Band:
        rows, tiles = self._bands.rows[index], self._bands.tiles[index]
        height, width = self._task.size
        top, bottom = max(0, rows.start - 1), min(height, rows.stop + 1)
        seen = tiles[0].crop[0]
        first, stop = min(top, seen.start), max(bottom, seen.stop)
        features = self._kept.get(index)
        with self._watch.stage("backbone"):
            if features is None:
                image = self._task.read(first, stop)
                crop = image[:, :, seen.start - first : seen.stop - first]
                features = self._pipeline.features(tiles, rows, crop, width)
                image = image[0]
            else:
                image, first = self._task.read(top, bottom)[0], top
        return Band(features, rows.start, image, first)

    def _hr_rows(self, lr_rows: slice) -> slice:
        """The output rows whose nearest input row is one of these."""
        nearest = self._grid.rows.nearest
        first, stop = np.searchsorted(nearest, [lr_rows.start, lr_rows.stop])
        return slice(int(first), int(stop))

    def _chunks(self, rows: slice, lr_first: int) -> list[tuple[int, int]]:
        """Ranges of output rows, each of whole input rows, for one thread at a time."""
        height, width = self._grid.hr_size
        step = max(1, PIXELS_PER_CHUNK * self._task.size[0] // (height * width))
        nearest = self._grid.rows.nearest[rows]
        lr_rows = range(lr_first, int(nearest[-1]) + 1, step)
        edges = rows.start + np.append(np.searchsorted(nearest, lr_rows), len(nearest))
        return [(int(a), int(b)) for a, b in itertools.pairwise(edges) if a < b]


@dataclass(frozen=True)
class _Held:
    """Output rows of a band and, before them, the last two of the band above, which refinement
    needs. planes [3, n, W] float32; labels [n, W] uint8; difficulty [n, W] float32.

    It lies in memory that the next image uses again: two of them take turns.
    """

    memory: "Memory"
    turn: int
    planes: Floats
    labels: Labels
    difficulty: Floats

    @classmethod
    def nothing(cls, memory: "Memory", width: int) -> "_Held":
        return cls._empty(memory, 0, (0, width))

    def followed_by(self, rows: int) -> "_Held":
        """The last two rows, and room for as many more."""
        kept = min(2, len(self.labels))
        size = (kept + rows, self.labels.shape[1])
        after = self._empty(self.memory, 1 - self.turn, size)
        if kept:
            after.planes[:, :kept] = self.planes[:, -kept:]
            after.labels[:kept], after.difficulty[:kept] = (
                self.labels[-kept:],
                self.difficulty[-kept:],
            )
        return after

    @classmethod
    def _empty(cls, memory: "Memory", turn: int, size: tuple[int, int]) -> "_Held":
        return cls(
            memory,
            turn,
            memory.array(f"planes {turn}", (3, *size), np.float32),
            memory.array(f"labels {turn}", size, np.uint8),
            memory.array(f"difficulty {turn}", size, np.float32),
        )


class Memory:
    """Arrays of the calling thread that keep their place from one image to the next."""

    def __init__(self) -> None:
        self._of_thread = local()

    def array(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """An array of this shape, not cleared; any earlier one of this name is lost."""
        held: dict[str, NDArray[Any]] = self._of_thread.__dict__
        count = math.prod(shape)
        if name not in held or held[name].size < count:
            held[name] = np.empty(count, dtype=dtype)
        return held[name][:count].reshape(shape)


class _Statistics:
    """What ADM or heavy_ratio needs to know of all pixels: a histogram, or every logit."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._histograms: dict[int, Histogram] = {}  # one per thread
        self._logits: list[Floats] = []

    def add(self, logits: Floats) -> None:
        """Some pixels' logits [N, K]."""
        logit = difficulty_logit(logits)
        if self._mode.heavy_ratio is not None:
            self._logits.append(logit)
            return
        difficulty = sigmoid(logit)
        histogram = self._histograms.setdefault(get_ident(), Histogram())
        add_to_histogram(difficulty, histogram.table)
        histogram.widen(difficulty)

    def rule(self, cost: Floats) -> Rule:
        """For all pixels that were added."""
        if self._mode.heavy_ratio is not None:
            return ratio_rule(cost, np.concatenate(self._logits), self._mode.heavy_ratio)
        return adaptive_rule(cost, functools.reduce(operator.add, self._histograms.values()))
