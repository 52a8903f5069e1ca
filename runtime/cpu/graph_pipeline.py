"""Pipelines whose graphs all run in one runner: PCSR with the maps of the whole image in memory,
and plain networks.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.manifest import classifier_outputs
from pcsr.runtime.geometry.grid import Floats, Grid
from pcsr.runtime.geometry.tiling import (
    LEAST_CORE_PX,
    TILE_PX,
    Bands,
    Tile,
    least_work_bands,
    seen_pixels,
    split,
    square_bands,
)
from pcsr.runtime.layout import to_dtype
from pcsr.runtime.machine import available_bytes
from pcsr.runtime.routing.rule import Routing, refined_below, route
from pcsr.runtime.timing import Stopwatch

from .output import Output, refuse_infinite
from .pipeline import ARENA_GROWTH, Routed, Runner, Size, Task, cuts_exactly
from .workers import PIXELS_PER_CHUNK, Workers

PLAIN_TILE_BYTES = 900 * 2**20  # of the tensors of a tile: nothing else is held but finished rows
MOST_REPEATED = 2.0  # pixels computed, halos included, over those of the image

Maps = dict[str, Floats]
"""The backbone's outputs [h*w, C] by the role that reads them."""


class GraphPipeline:
    """PCSR: every output pixel goes to the upsampler that its difficulty deserves."""

    def __init__(
        self, bundle: Bundle, runner: Runner, workers: Workers, tile_px: int | None = None
    ) -> None:
        self._halo_px = bundle.manifest.model.receptive_radius_px
        self._tile_px = tile_px or TILE_PX
        self._costs = bundle.manifest.costs
        self._count = bundle.upsamplers
        model = bundle.manifest.model
        self._neighbours = model.neighbours
        self._has_base = np.array([each.base == "bilinear" for each in model.upsamplers])
        self._mlps = [f"upsampler_{j}" for j in range(self._count)]
        if self._count > 1:
            self._mlps.insert(0, "classifier")
        self._runner, self._workers = runner, workers

    def backbone_px(self, size: tuple[int, int], scale: float) -> int:
        return seen_pixels(split(size, self._halo_px, self._tile_px))

    def run(self, task: Task, output: Output, watch: Stopwatch) -> Routed:
        with watch.stage("prepare"):
            grid = Grid.make(task.size, task.scale)
            image = task.read(0, task.size[0])
        with watch.stage("backbone"):
            features = self._encode(image, watch)
        routing = self._route(features, grid, task, watch)
        with watch.stage("routing"):
            labels = routing.assignment.reshape(grid.hr_size)
            counts = np.bincount(routing.assignment, minlength=self._count)
        residual = np.empty((grid.pixels, 3), dtype=np.float32)
        for j in range(self._count):
            with watch.stage(f"upsampler_{j}"):
                picked = np.flatnonzero(routing.assignment == j)
                self._run_rows(f"upsampler_{j}", features, grid, picked, residual, watch)
        with watch.stage("compose"):
            out: Floats = residual.reshape(*grid.hr_size, 3)
            pixels = np.ascontiguousarray(image[0].transpose(1, 2, 0))
            add = partial(self._add_bases, out, pixels, grid, labels)
            self._workers.over_rows(grid.hr_size, add)
        with output.rows(0, grid.hr_size[0]) as target, watch.stage("refinement"):
            self._finish(out, labels < refined_below(task.request, self._count), target.pixels)
            target.assignment[:] = labels
            target.difficulty[:] = routing.difficulty.reshape(grid.hr_size)
        return Routed(counts, routing.threshold)

    def _encode(self, image: Floats, watch: Stopwatch) -> Maps:
        """Computes the maps, in the graphs' type, from tiles that bound the backbone's memory."""
        height, width = image.shape[2:]
        maps: Maps = {}
        for tile in split((height, width), self._halo_px, self._tile_px):
            crop = np.ascontiguousarray(image[:, :, *tile.crop])
            names = [f"{role}_features" for role in self._mlps]
            outputs = self._runner.run_image("backbone", crop, names, watch.cancellation)
            for role, rows in zip(self._mlps, outputs, strict=True):
                block = rows.reshape(*crop.shape[2:], -1)[tile.inner]
                if role not in maps:
                    maps[role] = np.empty((height, width, block.shape[2]), dtype=block.dtype)
                maps[role][tile.core] = block
        return {role: whole.reshape(height * width, -1) for role, whole in maps.items()}

    def _route(self, features: Maps, grid: Grid, task: Task, watch: Stopwatch) -> Routing:
        if self._count == 1:
            with watch.stage("prepare"):
                only = np.zeros(grid.pixels, dtype=np.uint8)
                return Routing(only, np.ones(grid.pixels, dtype=np.float32), None)
        with watch.stage("classifier"):
            logits = np.empty((grid.pixels, classifier_outputs(self._count)), dtype=np.float32)
            self._run_rows("classifier", features, grid, np.arange(grid.pixels), logits, watch)
        with watch.stage("routing"):
            return route(logits, self._costs.cost_table(task.scale), task.request)

    def _run_rows(
        self,
        role: str,
        features: Maps,
        grid: Grid,
        pixels: NDArray[np.int64],
        out: Floats,
        watch: Stopwatch,
    ) -> None:
        """Runs the graph of a role on these flat output pixels, and writes their rows of `out`."""

        neighbours = self._neighbours(role)

        def work(chunk: slice) -> None:
            watch.check()
            part = pixels[chunk]
            index, offset = grid.locate(part, neighbours)
            rows = {"features": features[role], "index": index, "offset": offset, "cell": grid.cell}
            out[part] = self._runner.run_rows(role, rows)

        self._workers.over_pixels(len(pixels), work, PIXELS_PER_CHUNK // neighbours)

    def _add_bases(
        self, out: Floats, image: Floats, grid: Grid, labels: NDArray[np.uint8], rows: slice
    ) -> None:
        """Adds to rows of `out` [H, W, 3] what each pixel's upsampler is added to.

        Raises:
            ImageError: a sum is not finite.
        """
        chosen = self._has_base[labels[rows]]
        if chosen.any():
            add_bilinear(out, image, grid, rows, chosen[..., None])
        refuse_infinite(out[rows])

    def _finish(self, image: Floats, heavy: NDArray[np.bool_], out: NDArray[Any]) -> None:
        def work(rows: slice) -> None:
            out[rows] = to_dtype(refine_rows(image, heavy, rows), out.dtype)

        self._workers.over_rows(heavy.shape, work)


def add_bilinear(
    residual: Floats,
    image: Floats,
    grid: Grid,
    rows: slice,
    chosen: NDArray[np.bool_] | bool = True,
) -> None:
    """Adds `image` [h, w, 3], upsampled as `grid_sample` does, to rows of `residual` [H, W, 3];
    only where `chosen` [rows, W, 1] is set.
    """
    y, x = grid.rows, grid.columns
    upper, lower = image[y.upper[rows]], image[y.lower[rows]]
    lines = lower + y.weight[rows, None, None] * (upper - lower)
    left, right = np.take(lines, x.lower, axis=1), np.take(lines, x.upper, axis=1)
    right -= left
    right *= x.weight[:, None]
    left += right
    np.add(residual[rows], left, out=residual[rows], where=chosen)


def refine_rows(image: Floats, heavy: NDArray[np.bool_], rows: slice) -> Floats:
    """Refines some rows (paper section 3.4) and returns them in a new array.

    A pixel that is light, not on the outermost frame, and beside a heavy one (of 8) becomes the 3x3
    mean of the unrefined `image` [H, W, 3]. heavy: [H, W].
    """
    height, width = heavy.shape
    out = image[rows].copy()
    first, last = max(rows.start, 1), min(rows.stop, height - 1)
    if first >= last or width < 3:
        return out
    around = slice(first - 1, last + 1)
    near = _box(heavy[around].view(np.uint8), np.maximum)
    changed = (near > 0) & ~heavy[first:last, 1:-1]
    mean = _box(image[around], np.add)
    mean *= np.float32(1 / 9)
    inner = out[first - rows.start : last - rows.start, 1:-1]
    np.copyto(inner, mean, where=changed[..., None])
    return out


def _box(values: NDArray[Any], combine: np.ufunc) -> NDArray[Any]:
    """Reduces every 3x3 window, without padding: [H, W, ...] -> [H-2, W-2, ...]."""
    lines: NDArray[Any] = combine(combine(values[:-2], values[1:-1]), values[2:])
    out: NDArray[Any] = combine(combine(lines[:, :-2], lines[:, 1:-1]), lines[:, 2:])
    return out


class PlainPipeline:
    """A network with its own upsampling tail has one graph, one scale and no routing. It runs tile
    by tile within bounded memory, or on the whole image where its receptive field is not bounded.
    """

    def __init__(
        self, bundle: Bundle, runner: Runner, workers: Workers, tile_px: int | None = None
    ) -> None:
        model = bundle.manifest.model
        self._halo_px, self._tile_px = model.receptive_radius_px, tile_px
        self.multiple = model.size_multiple
        self._working_bytes_per_px = model.working_bytes_per_px
        self._scale = bundle.manifest.trained_scale
        self._runner, self._workers = runner, workers
        self.cuts_exactly = cuts_exactly(runner)

    def crop_pixels(self) -> int:
        """Counts the input pixels of a tile, halo included, that memory is there for."""
        tile_bytes = min(PLAIN_TILE_BYTES, available_bytes() // 2)
        return int(tile_bytes / (ARENA_GROWTH * self._working_bytes_per_px))

    def plan(self, size: Size, part: slice | None = None) -> Bands:
        """Cuts an image of (height, width), or part of its rows, into bands of tiles."""
        if self._tile_px is not None:
            return square_bands(size, self._halo_px, self._tile_px, self.multiple, part)
        free = available_bytes() // 2
        bands = self._within(size, min(PLAIN_TILE_BYTES, free), part)
        pixels = size[1] * (part.stop - part.start if part else size[0])
        if sum(map(seen_pixels, bands.tiles)) > MOST_REPEATED * pixels:
            bands = self._within(size, free, part)
        return bands

    def _within(self, size: Size, tile_bytes: int, part: slice | None) -> Bands:
        """Cuts an image into tiles that take so many bytes; into larger ones where cores would be
        smaller than the halo around them.
        """
        crop_pixels = int(tile_bytes / (ARENA_GROWTH * self._working_bytes_per_px))
        side = 3 * max(LEAST_CORE_PX, self._halo_px or 0)
        least_pixels = min(size[0], side) * min(size[1], side)
        most_pixels = max(crop_pixels, least_pixels)
        return least_work_bands(size, self._halo_px, most_pixels, multiple=self.multiple, part=part)

    def backbone_px(self, size: Size, scale: float) -> int:
        return sum(map(seen_pixels, self.plan(size).tiles))

    def run(
        self, task: Task, output: Output, watch: Stopwatch, part: slice | None = None
    ) -> Routed:
        """As `Pipeline.run`; part: the input rows that are upscaled, if not all, in multiples of
        what the network takes.
        """
        bands = self.plan(task.size, part)
        for rows, tiles in zip(bands.rows, bands.tiles, strict=True):
            seen = tiles[0].crop[0]
            with watch.stage("prepare"):
                image = task.read(seen.start, seen.stop)
            finished = self.enlarged(rows)
            with output.rows(finished.start, finished.stop) as target:
                for tile in tiles:
                    self.run_tile(tile, image, target.pixels, watch)
        return Routed(np.zeros(0, dtype=np.int64), None)

    def run_tile(self, tile: Tile, image: Floats, target: NDArray[Any], watch: Stopwatch) -> None:
        """Computes a tile of some rows [1, 3, m, w] into its columns of `target` [n, W, 3]."""
        with watch.stage("network"):
            crop = np.ascontiguousarray(image[..., tile.crop[1]])
            upscaled = self._runner.run_image("network", crop, ("upscaled",), watch.cancellation)[0]
        with watch.stage("convert"):
            inner = upscaled[0][:, *map(self.enlarged, tile.inner)].transpose(1, 2, 0)
            part = target[:, self.enlarged(tile.core[1])]

            def work(rows: slice) -> None:
                refuse_infinite(inner[rows])
                part[rows] = to_dtype(inner[rows], part.dtype)

            self._workers.over_rows(part.shape, work)

    def enlarged(self, part: slice) -> slice:
        """Gives the output rows or columns of some of the input."""
        return slice(round(part.start * self._scale), round(part.stop * self._scale))
