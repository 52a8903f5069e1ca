"""PCSR with every graph of a bundle in one backend: the portable path, and the one for a GPU
through ONNX Runtime. The whole image's maps are held in memory.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.runtime.geometry.grid import Floats, Grid, hr_size
from pcsr.runtime.geometry.tiling import TILE_PX, seen_pixels, split
from pcsr.runtime.layout import to_dtype
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import Routing, heavy_count, route
from pcsr.runtime.timing import Stopwatch

from .backend import Backend
from .compose import add_bilinear, refine_rows
from .output import Output
from .pipeline import Routed, Size, Task
from .workers import Workers


class GraphPipeline:
    """PCSR: every output pixel goes to the upsampler that its difficulty deserves."""

    def __init__(
        self, bundle: Bundle, backend: Backend, workers: Workers, tile_px: int | None = None
    ) -> None:
        self._halo_px = bundle.manifest.model.receptive_radius_px
        self._tile_px = tile_px or TILE_PX
        self._costs = bundle.manifest.costs
        self._count = bundle.upsamplers
        self._mlps = [f"upsampler_{j}" for j in range(self._count)]
        if self._count > 1:
            self._mlps.insert(0, "classifier")
        self._backend = backend
        self._workers = workers

    def backbone_px(self, size: tuple[int, int], scale: float) -> int:
        return seen_pixels(split(size, self._halo_px, self._tile_px))

    def run(self, task: Task, output: Output, watch: Stopwatch) -> Routed:
        with watch.stage("prepare"):
            grid = Grid.make(task.size, task.scale)
            image = task.read(0, task.size[0])
        with watch.stage("backbone"):
            features = self._encode(image)
        routing = self._route(features, grid, task.scale, task.request, watch)
        with watch.stage("routing"):
            labels = routing.assignment.reshape(grid.hr_size)
            counts = np.bincount(routing.assignment, minlength=self._count)
        residual = np.empty((grid.pixels, 3), dtype=np.float32)
        for j in range(self._count):
            with watch.stage(f"upsampler_{j}"):
                picked = np.flatnonzero(routing.assignment == j)
                self._upsample(f"upsampler_{j}", features, grid, picked, residual)
        with watch.stage("compose"):
            out: Floats = residual.reshape(*grid.hr_size, 3)
            self._add_bilinear(out, image, grid)
        refine_below = (
            heavy_count(self._count) if task.request.is_refined and self._count > 1 else 0
        )
        with watch.stage("refinement"):
            target = output.rows(0, grid.hr_size[0])
            self._finish(out, labels, refine_below, target.pixels)
            target.assignment[:] = labels
            target.difficulty[:] = routing.difficulty.reshape(grid.hr_size)
        output.done(0, grid.hr_size[0])
        return Routed(counts, routing.threshold)

    def _encode(self, image: Floats) -> dict[str, Floats]:
        """Row maps [h*w, C] by role, in the graphs' type, from tiles that bound the backbone's
        working memory.
        """
        height, width = image.shape[2:]
        maps: dict[str, Floats] = {}
        for tile in split((height, width), self._halo_px, self._tile_px):
            crop = np.ascontiguousarray(image[:, :, *tile.crop])
            names = [f"{role}_features" for role in self._mlps]
            outputs = self._backend.run_image("backbone", crop, names)
            for role, rows in zip(self._mlps, outputs, strict=True):
                block = rows.reshape(*crop.shape[2:], -1)[tile.inner]
                if role not in maps:
                    maps[role] = np.empty((height, width, block.shape[2]), dtype=block.dtype)
                maps[role][tile.core] = block
        return {role: whole.reshape(height * width, -1) for role, whole in maps.items()}

    def _route(
        self,
        features: dict[str, Floats],
        grid: Grid,
        scale: float,
        request: RoutingRequest,
        watch: Stopwatch,
    ) -> Routing:
        if self._count == 1:
            with watch.stage("prepare"):
                only = np.zeros(grid.pixels, dtype=np.uint8)
                return Routing(only, np.ones(grid.pixels, dtype=np.float32), None)
        with watch.stage("classifier"):
            logits = self._classify(features, grid)
        with watch.stage("routing"):
            return route(logits, self._costs.cost_table(scale), request)

    def _classify(self, features: dict[str, Floats], grid: Grid) -> Floats:
        logits = np.empty((grid.pixels, 1 if self._count == 2 else self._count), dtype=np.float32)

        def work(start: int, stop: int) -> None:
            pixels = np.arange(start, stop)
            logits[start:stop] = self._run_rows("classifier", features, grid, pixels)

        self._workers.over_pixels(grid.pixels, work)
        return logits

    def _upsample(
        self,
        role: str,
        features: dict[str, Floats],
        grid: Grid,
        picked: NDArray[np.int64],
        out: Floats,
    ) -> None:
        def work(start: int, stop: int) -> None:
            pixels = picked[start:stop]
            out[pixels] = self._run_rows(role, features, grid, pixels)

        self._workers.over_pixels(len(picked), work)

    def _run_rows(
        self, role: str, features: dict[str, Floats], grid: Grid, pixels: NDArray[np.int64]
    ) -> Floats:
        index, offset = grid.locate(pixels)
        inputs = {"features": features[role], "index": index, "offset": offset, "cell": grid.cell}
        return self._backend.run_rows(role, inputs)

    def _add_bilinear(self, residual: Floats, image: Floats, grid: Grid) -> None:
        pixels = np.ascontiguousarray(image[0].transpose(1, 2, 0))
        self._workers.over_rows(
            grid.hr_size,
            lambda start, stop: add_bilinear(residual, pixels, grid, slice(start, stop)),
        )

    def _finish(
        self, image: Floats, labels: NDArray[np.uint8], refine_below: int, out: NDArray[Any]
    ) -> None:
        heavy = labels < refine_below

        def work(start: int, stop: int) -> None:
            rows = slice(start, stop)
            out[rows] = to_dtype(refine_rows(image, heavy, rows), out.dtype)

        self._workers.over_rows(heavy.shape, work)


class PlainPipeline:
    """A network with its own upsampling tail: one graph, one scale, no routing."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._bundle = bundle
        self._backend = backend

    def backbone_px(self, size: Size, scale: float) -> int:
        return math.prod(size)

    def run(self, task: Task, output: Output, watch: Stopwatch) -> Routed:
        height, _ = hr_size(task.size, task.scale)
        with watch.stage("prepare"):
            image = task.read(0, task.size[0])
        with watch.stage("network"):
            upscaled = self._backend.run_image("network", image, ("upscaled",))[0]
        with watch.stage("convert"):
            target = output.rows(0, height)
            target.pixels[:] = to_dtype(upscaled[0].transpose(1, 2, 0), output.dtype)
        output.done(0, height)
        return Routed(np.zeros(0, dtype=np.int64), None)
