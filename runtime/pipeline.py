"""The graphs of a bundle, chained: backbone, classifier, routing, upsamplers, refinement."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import UsageError

from .backends import Backend
from .compose import add_bilinear, refine_rows
from .grid import Floats, Grid
from .routing import Mode, Routing, heavy_count, route
from .tiling import TILE_PX, split
from .timing import Stopwatch
from .workers import Workers


class Pipeline(Protocol):
    """Upscales one image [1, 3, h, w], RGB in [0, 1], to [H, W, 3], not clipped, and says how it
    was routed.
    """

    def check(self, scale: float, mode: Mode) -> None:
        """Raises UsageError for what this network cannot do."""

    def run(
        self, image: Floats, scale: float, mode: Mode, refine: bool, watch: Stopwatch
    ) -> tuple[Floats, Routing | None]: ...


def make_pipeline(bundle: Bundle, backend: Backend, workers: Workers) -> Pipeline:
    """The pipeline for a bundle's kind."""
    if bundle.kind == "plain":
        return PlainPipeline(bundle, backend)
    return RoutedPipeline(bundle, backend, workers)


class PlainPipeline:
    """A network with its own upsampling tail: one graph, one scale, no routing."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._bundle = bundle
        self._backend = backend

    def check(self, scale: float, mode: Mode) -> None:
        """Raises UsageError for another scale than the network's, or where routing is asked for."""
        if scale != self._bundle.manifest.trained_scale:
            trained = self._bundle.manifest.trained_scale
            raise UsageError(
                f"{self._bundle.path} is a plain network that upscales by {trained:g} only"
            )
        if mode != Mode():
            raise UsageError(
                f"{self._bundle.path} is a plain network without routing (k, adaptive, "
                "heavy_ratio); export a PCSR checkpoint for that"
            )

    def run(
        self, image: Floats, scale: float, mode: Mode, refine: bool, watch: Stopwatch
    ) -> tuple[Floats, Routing | None]:
        with watch.stage("network"):
            upscaled = self._backend.run_image("network", image)[0]
        return np.ascontiguousarray(upscaled[0].transpose(1, 2, 0)), None


class RoutedPipeline:
    """PCSR: every output pixel goes to the upsampler that its difficulty deserves."""

    def __init__(
        self, bundle: Bundle, backend: Backend, workers: Workers, tile_px: int = TILE_PX
    ) -> None:
        self._halo_px = bundle.manifest.model.receptive_radius_px
        self._tile_px = tile_px
        self._path = bundle.path
        self._costs = bundle.manifest.costs
        self._count = bundle.upsamplers
        self._mlps = [f"upsampler_{j}" for j in range(self._count)]
        if self._count > 1:
            self._mlps.insert(0, "classifier")
        self._backend = backend
        self._workers = workers

    def check(self, scale: float, mode: Mode) -> None:
        """Raises UsageError where routing is asked of a network with one upsampler."""
        if self._count == 1 and mode != Mode():
            raise UsageError(
                f"{self._path} has one upsampler and nothing to route (k, adaptive, heavy_ratio); "
                "export a checkpoint with two or more for that"
            )

    def run(
        self, image: Floats, scale: float, mode: Mode, refine: bool, watch: Stopwatch
    ) -> tuple[Floats, Routing | None]:
        grid = Grid.make((image.shape[2], image.shape[3]), scale)
        with watch.stage("backbone"):
            features = self._encode(image)
        routing = self._route(features, grid, scale, mode, watch)
        residual = np.empty((grid.pixels, 3), dtype=np.float32)
        for j in range(self._count):
            with watch.stage(f"upsampler_{j}"):
                picked = np.flatnonzero(routing.assignment == j)
                self._upsample(f"upsampler_{j}", features, grid, picked, residual)
        with watch.stage("bilinear"):
            out: Floats = residual.reshape(*grid.hr_size, 3)
            self._add_bilinear(out, image, grid)
        if refine and self._count > 1:
            with watch.stage("refinement"):
                out = self._refine(out, routing.assignment.reshape(grid.hr_size))
        return out, routing

    def _encode(self, image: Floats) -> dict[str, Floats]:
        """Row maps [h*w, C] by role, from tiles that bound the backbone's working memory."""
        height, width = image.shape[2:]
        maps: dict[str, Floats] = {}
        for tile in split((height, width), self._halo_px, self._tile_px):
            crop = np.ascontiguousarray(image[:, :, *tile.crop])
            outputs = self._backend.run_image("backbone", crop)
            for role, rows in zip(self._mlps, outputs, strict=True):
                block = rows.reshape(*crop.shape[2:], -1)[tile.inner]
                if role not in maps:
                    maps[role] = np.empty((height, width, block.shape[2]), dtype=np.float32)
                maps[role][tile.core] = block
        return {role: whole.reshape(height * width, -1) for role, whole in maps.items()}

    def _route(
        self, features: dict[str, Floats], grid: Grid, scale: float, mode: Mode, watch: Stopwatch
    ) -> Routing:
        if self._count == 1:
            only = np.zeros(grid.pixels, dtype=np.uint8)
            return Routing(only, np.ones(grid.pixels, dtype=np.float32), None)
        with watch.stage("classifier"):
            logits = self._classify(features, grid)
        with watch.stage("routing"):
            return route(logits, self._costs.cost_table(scale), mode)

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

    def _refine(self, image: Floats, assignment: NDArray[np.uint8]) -> Floats:
        heavy = assignment < heavy_count(self._count)
        refined = np.empty_like(image)

        def work(start: int, stop: int) -> None:
            refined[start:stop] = refine_rows(image, heavy, slice(start, stop))

        self._workers.over_rows(heavy.shape, work)
        return refined
