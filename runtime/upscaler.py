"""A bundle as a callable: image in, upscaled image and routing out."""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import ImageError, UsageError

from .backends import make_backend
from .compose import add_bilinear, refine_rows
from .grid import Floats, Grid
from .layout import Layout
from .result import Result, Stats
from .routing import Mode, Routing, heavy_count, route
from .timing import Stopwatch

__all__ = ["Result", "Stats", "Upscaler"]

PIXELS_PER_CHUNK = 8192


class Upscaler:
    """Upscales images with the graphs of one bundle. Any number of threads may call it at once.

    Args:
        bundle: directory that pcsr-export wrote.
        device: `cpu`, `cuda` or `cuda:N`.
        backend: `onnxruntime`.
        precision: which set of graphs to run (`fp32`).
        threads: worker threads; None takes the cores this process may use.

    Raises:
        BundleError: no bundle, damaged, of a newer format, or without the asked-for precision.
        BackendError: the backend or the device is not there.
    """

    def __init__(
        self,
        bundle: Path | str,
        device: str = "cpu",
        backend: str = "onnxruntime",
        precision: str = "fp32",
        threads: int | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, found {threads}")
        threads = threads or _usable_cores()
        self.bundle = Bundle.load(bundle)
        self._roles = _roles(self.bundle)
        for role in self._roles:
            self.bundle.graph(role, precision)
        self._backend = make_backend(backend, self.bundle, device, precision, threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pcsr")

    def __call__(
        self,
        image: Any,  # noqa: ANN401
        scale: float | None = None,
        k: float = 0.0,
        adaptive: bool = False,
        heavy_ratio: float | None = None,
        refine: bool = True,
    ) -> Result:
        """Upscales one image to round(h * scale) x round(w * scale).

        Args:
            image: [h, w] gray or [h, w, channels] with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA) channels;
                uint8, uint16, or float32 nominally in [0, 1]. A NumPy array, or anything that speaks DLPack on the CPU.
            scale: at least 1; None takes the scale the network was trained for.
            k: how much an upsampler's cost counts in the routing: 0 trusts the classifier, larger is lighter, faster.
            adaptive: route by the image's own spread of difficulties (ADM) instead of k.
            heavy_ratio: share in [0, 1] of the pixels for the heavy upsampler, instead of k.
            refine: smooth light pixels beside heavy ones (paper section 3.4).

        Returns the same dtype and channels; float32 results are not clipped. Alpha is upscaled by the same network, as
        a gray image.

        Raises:
            ImageError: an array that is not an image as above.
            UsageError: an option out of range, or one that a plain network does not have.
        """
        pixels = _as_array(image)
        layout = Layout.of(pixels)
        mode = Mode(k, adaptive, heavy_ratio)
        scale = self._checked_scale(scale)
        watch = Stopwatch()
        if self.bundle.kind == "plain":
            out, routing = self._run_plain(layout.to_network(pixels), mode, watch), None
        else:
            out, routing = self._run(layout.to_network(pixels), scale, mode, refine, watch)
        colour = self._convert(out, layout, watch)
        if layout.has_alpha:
            with watch.stage("alpha"):
                alpha = self._upscale_alpha(pixels[..., -1], scale, (k, adaptive, heavy_ratio, refine))
                colour = np.concatenate([colour, alpha], axis=2)
        return self._result(pixels, colour, routing, watch)

    def _checked_scale(self, scale: float | None) -> float:
        trained = self.bundle.manifest.trained_scale
        scale = trained if scale is None else float(scale)
        if not (math.isfinite(scale) and scale >= 1):
            raise UsageError(f"scale must be a number of at least 1, found {scale}")
        if self.bundle.kind == "plain" and scale != trained:
            raise UsageError(f"{self.bundle.path} is a plain network that upscales by {trained:g} only")
        return int(scale) if scale == int(scale) else scale

    def _run_plain(self, image: Floats, mode: Mode, watch: Stopwatch) -> Floats:
        if mode != Mode():
            raise UsageError(f"{self.bundle.path} is a plain network: it has no routing (k, adaptive, heavy_ratio)")
        with watch.stage("network"):
            upscaled = self._backend.run_image("network", image)[0]
        return np.ascontiguousarray(upscaled[0].transpose(1, 2, 0))

    def _run(
        self, image: Floats, scale: float, mode: Mode, refine: bool, watch: Stopwatch
    ) -> tuple[Floats, Routing]:
        grid = Grid.make((image.shape[2], image.shape[3]), scale)
        with watch.stage("backbone"):
            maps = self._backend.run_image("backbone", image)
            features = dict(zip(self._roles[1:], maps, strict=True))
        with watch.stage("classifier"):
            logits = self._classify(features, grid)
        with watch.stage("routing"):
            cost = self.bundle.manifest.costs.cost_table(scale)
            routing = _no_choice(grid.pixels) if logits is None else route(logits, cost, mode)
        out = np.empty((grid.pixels, 3), dtype=np.float32)
        for j in range(self.bundle.upsamplers):
            with watch.stage(f"upsampler_{j}"):
                self._upsample(f"upsampler_{j}", features, grid, routing.assignment == j, out)
        out = out.reshape(*grid.hr_size, 3)
        self._finish(out, image, grid, watch)
        if refine:
            with watch.stage("refinement"):
                out = self._refine(out, routing)
        return out, routing

    def _classify(self, features: dict[str, Floats], grid: Grid) -> Floats | None:
        if "classifier" not in features:
            return None
        width = 1 if self.bundle.upsamplers == 2 else self.bundle.upsamplers
        logits = np.empty((grid.pixels, width), dtype=np.float32)

        def work(start: int, stop: int) -> None:
            pixels = np.arange(start, stop)
            logits[start:stop] = self._run_rows("classifier", features, grid, pixels)

        self._in_chunks(grid.pixels, PIXELS_PER_CHUNK, work)
        return logits

    def _upsample(
        self, role: str, features: dict[str, Floats], grid: Grid, chosen: NDArray[np.bool_], out: Floats
    ) -> None:
        picked = np.flatnonzero(chosen)

        def work(start: int, stop: int) -> None:
            pixels = picked[start:stop]
            out[pixels] = self._run_rows(role, features, grid, pixels)

        self._in_chunks(len(picked), PIXELS_PER_CHUNK, work)

    def _run_rows(
        self, role: str, features: dict[str, Floats], grid: Grid, pixels: NDArray[np.int64]
    ) -> Floats:
        index, offset = grid.locate(pixels)
        inputs = {"features": features[role], "index": index, "offset": offset, "cell": grid.cell}
        return self._backend.run_rows(role, inputs)

    def _finish(self, out: Floats, image: Floats, grid: Grid, watch: Stopwatch) -> None:
        with watch.stage("bilinear"):
            pixels = np.ascontiguousarray(image[0].transpose(1, 2, 0))
            self._in_strips(grid.hr_size, lambda a, b: add_bilinear(out, pixels, grid, slice(a, b)))

    def _refine(self, image: Floats, routing: Routing) -> Floats:
        heavy = (routing.assignment < heavy_count(self.bundle.upsamplers)).reshape(image.shape[:2])
        refined = np.empty_like(image)

        def work(start: int, stop: int) -> None:
            refined[start:stop] = refine_rows(image, heavy, slice(start, stop))

        self._in_strips(heavy.shape, work)
        return refined

    def _convert(self, rgb: Floats, layout: Layout, watch: Stopwatch) -> NDArray[Any]:
        with watch.stage("convert"):
            channels = 1 if layout.is_gray else 3
            out = np.empty((*rgb.shape[:2], channels), dtype=layout.dtype)

            def work(start: int, stop: int) -> None:
                out[start:stop] = layout.from_network(rgb[start:stop])

            self._in_strips(rgb.shape[:2], work)
        return out

    def _upscale_alpha(self, alpha: NDArray[Any], scale: float, options: tuple[Any, ...]) -> NDArray[Any]:
        if (alpha == alpha[0, 0]).all():
            size = [round(n * scale) for n in alpha.shape]
            return np.full((*size, 1), alpha[0, 0], dtype=alpha.dtype)
        k, adaptive, heavy_ratio, refine = options
        return self(alpha, scale, k, adaptive, heavy_ratio, refine).image[..., None]

    def _in_chunks(self, count: int, size: int, work: Callable[[int, int], None]) -> None:
        starts = range(0, count, size)
        for _ in self._pool.map(lambda start: work(start, min(start + size, count)), starts):
            pass

    def _in_strips(self, size: tuple[int, ...], work: Callable[[int, int], None]) -> None:
        self._in_chunks(size[0], max(1, 8 * PIXELS_PER_CHUNK // size[1]), work)

    def _result(
        self, pixels: NDArray[Any], colour: NDArray[Any], routing: Routing | None, watch: Stopwatch
    ) -> Result:
        hr_size = (colour.shape[0], colour.shape[1])
        counts = () if routing is None else np.bincount(routing.assignment, minlength=self.bundle.upsamplers)
        stats = Stats(
            lr_size=(pixels.shape[0], pixels.shape[1]),
            hr_size=hr_size,
            pixels_per_upsampler=tuple(int(count) for count in counts),
            threshold=None if routing is None else routing.threshold,
            stage_ms=watch.stage_ms,
            total_ms=watch.total_ms,
        )
        out = colour if pixels.ndim == 3 else colour[..., 0]
        if routing is None:
            return Result(out, None, None, stats)
        return Result(out, routing.assignment.reshape(hr_size), routing.difficulty.reshape(hr_size), stats)


def _roles(bundle: Bundle) -> list[str]:
    if bundle.kind == "plain":
        return ["network"]
    classifier = ["classifier"] if bundle.upsamplers > 1 else []
    return ["backbone", *classifier, *(f"upsampler_{j}" for j in range(bundle.upsamplers))]


def _no_choice(pixels: int) -> Routing:
    """Routing of a network with one upsampler."""
    return Routing(np.zeros(pixels, dtype=np.uint8), np.ones(pixels, dtype=np.float32), None)


def _as_array(image: Any) -> NDArray[Any]:  # noqa: ANN401
    if isinstance(image, np.ndarray):
        return image
    try:
        return np.from_dlpack(image) if hasattr(image, "__dlpack__") else np.asarray(image)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        raise ImageError(f"expected an array on the CPU, found {type(image).__name__}: {error}") from error


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
