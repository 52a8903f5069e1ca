"""A bundle as a callable: image in, upscaled image and routing out."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, ImageError, UsageError

from .backends import choose_backend, make_backend
from .grid import Floats, hr_size, refuse_huge
from .layout import Layout
from .output import Arrays, Stream
from .pipeline import Routed, Task, check_mode, make_pipeline
from .result import Result, Stats
from .routing import Mode
from .timing import Stopwatch
from .workers import Workers, usable_cores

if TYPE_CHECKING:
    from .gpu.upscaler import DeviceUpscaler

__all__ = ["Result", "Stats", "Upscaler"]

MOST_THREADS = 256
LARGEST_SCALE = 1000


class Upscaler:
    """Upscales images with the graphs of one bundle. Any number of threads may call it at once.

    Args:
        bundle: directory that pcsr-export wrote.
        device: `cpu`, `cuda` or `cuda:N`.
        backend: on the CPU `native` (the backbone in ONNX Runtime, the rest in compiled passes),
            `onnxruntime` (every graph there) or `torch`; on a GPU `tensorrt`, `torch` or
            `onnxruntime`. `auto`: on the CPU native in fp32 and int8 where the passes
            are built, else onnxruntime; on a GPU tensorrt where the bundle has
            engines, else torch. The attribute `backend` says which it is.
        precision: which set of graphs to run (`fp32`, `fp16`, `bf16` as exported; `int8`, `fp8`
            as calibrated).
        threads: worker threads of the CPU; None takes the cores this process may use.
        tile_px: side of the backbone's tiles in input pixels, without their halo; None chooses it
            by memory. The result does not depend on it.
        passes: what a GPU does behind the backbone: `fused` (Triton kernels), `graphs` (the
            bundle's graphs), or `auto`: fused where Triton is installed.
        cuda_graphs: whether a frame of a shape that was seen before is replayed from a recording.
        may_build: whether TensorRT engines that are missing or stale are built now, which takes
            minutes.

    Raises:
        BundleError: no bundle, damaged, of a newer format, or without the asked-for precision.
        BackendError: the backend or the device is not there.
        EngineError: there are no TensorRT engines, and none can or may be built.
    """

    def __init__(
        self,
        bundle: Path | str,
        device: str = "cpu",
        backend: str = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        tile_px: int | None = None,
        passes: str = "auto",
        cuda_graphs: bool = True,
        may_build: bool = True,
    ) -> None:
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise UsageError(f"threads must be from 1 to {MOST_THREADS}, found {threads}")
        self.bundle = Bundle.load(bundle)
        self.backend = choose_backend(backend, device, precision, self.bundle)
        self._on_device: DeviceUpscaler | None = None
        if device != "cpu" or self.backend in ("torch", "tensorrt"):
            options = (device, precision, passes, tile_px, cuda_graphs, may_build)
            self._on_device = _open_on_device(self.bundle, self.backend, *options)
            return
        if passes != "auto":
            raise UsageError("passes can be chosen on a GPU only; leave it at auto")
        threads = threads or usable_cores()
        self._workers = Workers(threads)
        engine = make_backend(self.backend, self.bundle, device, precision, threads)
        native = self.backend == "native"
        self._pipeline = make_pipeline(self.bundle, engine, self._workers, native, tile_px)

    @property
    def passes(self) -> str:
        """What is done behind the backbone: `native`, `fused` or `graphs`; `none` for a plain
        network.
        """
        if self._on_device is not None:
            return self._on_device.passes
        if self.bundle.kind == "plain":
            return "none"
        return "native" if self.backend == "native" else "graphs"

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
            image: [h, w] gray or [h, w, channels] with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4
                (RGBA) channels; uint8, uint16, or float32 nominally in [0, 1]. A NumPy array, or
                anything that speaks DLPack. Of an array on a GPU the results are torch tensors
                there; the work is queued on torch's current stream, and nothing waits for it.
            scale: at least 1; None takes the scale the network was trained for.
            k: how much an upsampler's cost counts in the routing: 0 trusts the classifier, larger
                is lighter, faster.
            adaptive: route by the image's own spread of difficulties (ADM) instead of k.
            heavy_ratio: share in [0, 1] of the pixels for the heavy upsampler, instead of k.
            refine: smooth light pixels beside heavy ones (paper section 3.4).

        Returns the same dtype and channels; float32 results are not clipped. Alpha is upscaled by
        the same network, as a gray image.

        Raises:
            ImageError: an array that is not an image as above.
            UsageError: an option out of range, or one that a plain network does not have.
        """
        watch = Stopwatch()
        scale, mode = self.check_options(scale, k, adaptive, heavy_ratio)
        if self._on_device is not None:
            return self._on_device(image, scale, mode, refine)
        with watch.stage("prepare"):
            pixels = _as_array(image)
            layout = Layout.of(pixels)
            refuse_huge(_size(pixels), scale)
            output = Arrays(hr_size(_size(pixels), scale), layout.working_dtype)
        routed = self._pipeline.run(_task(pixels, layout, scale, mode, refine), output, watch)
        whole, colour = output.whole, output.whole.pixels
        if layout.is_gray:
            with watch.stage("convert"):
                colour = self._to_gray(colour, layout)
        if layout.has_alpha:
            with watch.stage("alpha"):
                routing_options = (k, adaptive, heavy_ratio, refine)
                alpha = self._upscale_alpha(pixels[..., -1], scale, *routing_options)
                colour = np.concatenate([colour, alpha], axis=2, dtype=layout.dtype)
        colour = colour if pixels.ndim == 3 else colour[..., 0]
        if colour.dtype != layout.dtype:
            with watch.stage("convert"):
                colour = colour.astype(layout.dtype)  # its byte order is foreign
        stats = _stats(pixels, scale, routed, watch)
        if self.bundle.kind == "plain":
            return Result(colour, None, None, stats)
        return Result(colour, whole.assignment, whole.difficulty, stats, self.bundle.upsamplers)

    def stream(
        self,
        image: Any,  # noqa: ANN401
        take: Callable[[NDArray[Any]], None],
        scale: float | None = None,
        k: float = 0.0,
        adaptive: bool = False,
        heavy_ratio: float | None = None,
        refine: bool = True,
    ) -> Stats:
        """Upscales one image and hands its rows [n, W, channels] to `take` from top to bottom, as
        soon as they are finished: the output is never whole in memory. Options as in a call.

        heavy_ratio keeps 4 bytes for each output pixel.

        Raises:
            ImageError: as a call does; an image with alpha.
            UsageError: as a call does.
        """
        watch = Stopwatch()
        pixels = _as_array(image)
        layout = Layout.of(pixels)
        scale, mode = self.check_options(scale, k, adaptive, heavy_ratio)
        if layout.has_alpha:
            raise ImageError("an image with alpha cannot be streamed; upscale it whole")
        if self._on_device is not None:
            return self._on_device.stream(pixels, take, scale, mode, refine)

        def hand_on(rows: NDArray[Any]) -> None:
            with watch.stage("convert"):
                rows = layout.from_network(rows) if layout.is_gray else rows
                rows = rows.astype(layout.dtype, copy=False)
            with watch.stage("take"):
                take(rows)

        output = Stream(hr_size(_size(pixels), scale), layout.working_dtype, hand_on)
        routed = self._pipeline.run(_task(pixels, layout, scale, mode, refine), output, watch)
        return _stats(pixels, scale, routed, watch)

    def check_options(
        self,
        scale: float | None = None,
        k: float = 0.0,
        adaptive: bool = False,
        heavy_ratio: float | None = None,
    ) -> tuple[float, Mode]:
        """The scale and the way of routing that a call with these options would use.

        Raises:
            UsageError: an option out of range, or one that this bundle's network does not have.
        """
        mode = Mode(k, adaptive, heavy_ratio)
        scale = self.bundle.manifest.trained_scale if scale is None else float(scale)
        if not 1 <= scale <= LARGEST_SCALE:
            raise UsageError(f"scale must be a number from 1 to {LARGEST_SCALE}, found {scale:g}")
        scale = int(scale) if scale == int(scale) else scale
        check_mode(self.bundle, scale, mode)
        return scale, mode

    def _to_gray(self, rgb: Floats, layout: Layout) -> NDArray[Any]:
        out = np.empty((*rgb.shape[:2], 1), dtype=layout.dtype)

        def work(start: int, stop: int) -> None:
            out[start:stop] = layout.from_network(rgb[start:stop])

        self._workers.over_rows(rgb.shape[:2], work)
        return out

    def _upscale_alpha(self, alpha: NDArray[Any], scale: float, *options: Any) -> NDArray[Any]:  # noqa: ANN401
        if (alpha == alpha[0, 0]).all():
            size = [round(n * scale) for n in alpha.shape]
            return np.full((*size, 1), alpha[0, 0], dtype=alpha.dtype)
        return self(alpha, scale, *options).image[..., None]


def _open_on_device(bundle: Bundle, backend: str, *options: Any) -> "DeviceUpscaler":  # noqa: ANN401
    try:
        from .gpu.upscaler import open_on_device
    except ModuleNotFoundError as missing:
        raise BackendError(
            f"the {backend} backend needs {missing.name}, which is not installed; install PyTorch "
            "with CUDA (pytorch.org), or run with --device cpu --backend native"
        ) from missing
    except (ImportError, OSError) as broken:
        raise BackendError(f"the {backend} backend does not load: {broken}") from broken
    return open_on_device(bundle, backend, *options)


def _task(pixels: NDArray[Any], layout: Layout, scale: float, mode: Mode, refine: bool) -> Task:
    def read(first: int, stop: int) -> Floats:
        return layout.to_network(pixels[first:stop])

    return Task(_size(pixels), read, scale, mode, refine)


def _size(pixels: NDArray[Any]) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]


def _stats(pixels: NDArray[Any], scale: float, routed: Routed, watch: Stopwatch) -> Stats:
    total_ms = watch.total_ms
    return Stats(
        lr_size=_size(pixels),
        hr_size=hr_size(_size(pixels), scale),
        pixels_per_upsampler=tuple(int(count) for count in routed.counts),
        threshold=routed.threshold,
        stage_ms=watch.stage_ms,
        total_ms=total_ms,
    )


def _as_array(image: Any) -> NDArray[Any]:  # noqa: ANN401
    if isinstance(image, np.ndarray):
        return image
    try:
        return np.from_dlpack(image) if hasattr(image, "__dlpack__") else np.asarray(image)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        raise ImageError(
            f"expected an array on the CPU, found {type(image).__name__}: {error}"
        ) from error
