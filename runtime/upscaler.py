"""Offers a bundle as a callable: image in, upscaled image and routing out."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, ImageError, UsageError

from .backends import choose_backend
from .cpu.upscaler import HostUpscaler, as_array, size_of
from .executor import Executor
from .geometry.grid import hr_size
from .layout import Layout
from .machine import usable_cores
from .result import Result, Stats
from .routing.operating_point import OperatingPoint
from .routing.planner import Planner, ResolvedRequest
from .routing.request import CallOptions, RoutingOptions, RoutingRequest
from .routing.time_model import Key, Workload

__all__ = ["Result", "Stats", "Upscaler"]

MOST_THREADS = 256
LARGEST_SCALE = 1000


class Upscaler:
    """Upscales images with the graphs of one bundle. Any number of threads may call it at once.

    Examples:
        >>> from pcsr import Upscaler
        >>> upscaler = Upscaler("carn-pcsr/", threads=2)
        >>> result = upscaler(photo, adaptive=True)  # photo: [27, 40, 3] uint8
        >>> result.image.shape, result.image.dtype
        ((108, 160, 3), dtype('uint8'))
        >>> upscaler(photo, scale=2.5, heavy_ratio=0.2).image.shape
        (68, 100, 3)

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
        default: how calls route that name no routing themselves: the options of a call, such as
            `adaptive=True`, `preset="fast"` or `budget_ms=40`.

    Raises:
        UsageError: an option out of range, or the bundle was not calibrated for it.
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
        **default: Unpack[RoutingOptions],
    ) -> None:
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise UsageError(f"threads must be from 1 to {MOST_THREADS}, found {threads}")
        self.bundle = Bundle.load(bundle)
        self.backend = choose_backend(backend, device, precision, self.bundle)
        self.precision = precision
        self._executor = self._open(device, threads, tile_px, passes, cuda_graphs, may_build)
        self._planner = Planner(self.bundle, RoutingRequest(**default), self.work, self.time_key)

    def _open(
        self, device: str, threads: int | None, tile_px: int | None, passes: str, *options: bool
    ) -> Executor:
        where = (self.bundle, self.backend)
        if device != "cpu" or self.backend in ("torch", "tensorrt"):
            return _open_on_device(*where, device, self.precision, passes, tile_px, *options)
        if passes != "auto":
            raise UsageError("passes can be chosen on a GPU only; leave it at auto")
        return HostUpscaler(*where, self.precision, threads or usable_cores(), tile_px)

    @property
    def passes(self) -> str:
        """Tells what is done behind the backbone: `native`, `fused` or `graphs`; `none` for a plain
        network.
        """
        return self._executor.passes

    @property
    def kept_shapes(self) -> int:
        """Counts the shapes (size, scale, way of routing) that something is kept for."""
        return self._executor.kept_shapes

    def keep_shapes(self, count: int) -> None:
        """Keeps what a GPU prepares for a shape for the `count` that were used last; 4 if nobody
        asks. Each takes as much of its memory as one image.
        """
        self._executor.keep_shapes(count)

    def forget_shapes(self) -> None:
        """Gives back the memory of all that is kept for shapes."""
        self._executor.forget_shapes()

    @property
    def operating_point(self) -> OperatingPoint:
        """Tells what pcsr-calibrate operating-point wrote into the bundle.

        Raises:
            UsageError: the bundle was not calibrated.
            BundleError: the calibration is damaged.
        """
        return self._planner.point

    def time_key(self, arrays: str = "host") -> Key:
        """Names what the time of a call depends on, but for its size, scale and heavy pixels."""
        by = self._executor
        where = (by.machine, by.kind, self.backend, self.precision, by.passes)
        return Key(*where, by.threads, arrays)

    def work(self, size: tuple[int, int], scale: float) -> Workload:
        """Counts what an image of (height, width) amounts to where a share is set."""
        backbone_px = self._executor.backbone_px(size, scale)
        return Workload(backbone_px, math.prod(hr_size(size, scale)))

    def __call__(
        self,
        image: Any,  # noqa: ANN401
        scale: float | None = None,
        k: float | None = None,
        **options: Unpack[CallOptions],
    ) -> Result:
        """Upscales one image to round(h * scale) x round(w * scale).

        Args:
            image: [h, w] gray or [h, w, channels] with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4
                (RGBA) channels; uint8, uint16, or float32 nominally in [0, 1]. A NumPy array, or
                anything that speaks DLPack. Of an array on a GPU the results are torch tensors
                there; the work is queued on torch's current stream, and nothing waits for it.
            scale: at least 1; None takes the scale the network was trained for.
            k: how much an upsampler's cost counts in the routing: 0 (as None) trusts the
                classifier, larger is lighter, faster.
            options: instead of k, `adaptive=True` routes by the image's own spread of difficulties
                (ADM), `heavy_ratio` gives that share in [0, 1] of the pixels to the heavy
                upsampler; by what pcsr-calibrate operating-point found, `preset` (quality,
                balanced, fast), `budget_ms` takes as many heavy pixels as nine calls of ten compute
                within that time, `max_psnr_loss_db` as few as lose no more than that in the mean.
                `adaptive_budget=True` corrects the budget's prediction by the frames before;
                `refine=False` leaves out the smoothing of light pixels beside heavy ones (paper
                section 3.4).

        A call that names none of these ways routes as the constructor's `default` says.

        Returns the same dtype and channels; float32 results are not clipped. Alpha is upscaled by
        the same network, as a gray image.

        Raises:
            ImageError: an array that is not an image as above.
            UsageError: an option out of range, one that a plain network does not have, or a budget
                too small for light pixels alone.
        """
        return self.run(image, scale, RoutingRequest(k, **options))

    def run(
        self,
        image: Any,  # noqa: ANN401
        scale: float | None,
        request: RoutingRequest,
        on_rows: Callable[[int], None] | None = None,
    ) -> Result:
        """Upscales one image as a call does, with its options as one request. `on_rows` is told how
        many more output rows are finished, those of alpha again; a device finishes all at once.
        """
        scale, request = self.completed(scale, request)
        pixels, layout = self._executor.look(image)
        resolved = self._resolve(request, scale, pixels, layout)
        return self._executor(pixels, scale, resolved.request, resolved.took, on_rows)

    def stream(
        self,
        image: Any,  # noqa: ANN401
        take: Callable[[NDArray[Any]], None],
        scale: float | None = None,
        k: float | None = None,
        **options: Unpack[CallOptions],
    ) -> Stats:
        """Upscales one image and hands its rows [n, W, channels] to `take` from top to bottom, as
        soon as they are finished: the output is never whole in memory. Options as in a call.

        heavy_ratio and budgets keep 4 bytes for each output pixel. A budget does not foresee the
        time that `take` needs.

        Raises:
            ImageError: as a call does; an image with alpha.
            UsageError: as a call does.
        """
        return self.run_stream(image, take, scale, RoutingRequest(k, **options))

    def run_stream(
        self,
        image: Any,  # noqa: ANN401
        take: Callable[[NDArray[Any]], None],
        scale: float | None,
        request: RoutingRequest,
    ) -> Stats:
        """Streams one image as `stream` does, with its options as one request."""
        pixels = as_array(image)
        layout = Layout.of(pixels)
        scale, request = self.completed(scale, request)
        if layout.has_alpha:
            raise ImageError("an image with alpha cannot be streamed; upscale it whole")
        resolved = self._resolve(request, scale, pixels, layout)
        stats = self._executor.stream(pixels, take, scale, resolved.request)
        if resolved.took is not None:
            resolved.took(lambda: stats.total_ms)
        return stats

    def completed(
        self, scale: float | None, request: RoutingRequest
    ) -> tuple[float, RoutingRequest]:
        """Gives the scale and the request that count in a call with these, defaults filled in.

        Raises:
            UsageError: one is out of range, does not fit this bundle's network, or needs a
                calibration that the bundle does not have.
        """
        scale = self.bundle.manifest.trained_scale if scale is None else float(scale)
        if not 1 <= scale <= LARGEST_SCALE:
            raise UsageError(f"scale must be a number from 1 to {LARGEST_SCALE}, found {scale:g}")
        scale = int(scale) if scale == int(scale) else scale
        return scale, self._planner.completed(request, scale)

    def resolved(
        self, size: tuple[int, int], scale: float | None, request: RoutingRequest
    ) -> RoutingRequest:
        """Says how an opaque image of (height, width) on the host is routed by a request: a preset
        or a budget as its k or its share of heavy pixels.

        Raises:
            UsageError: as a call does.
        """
        scale, request = self.completed(scale, request)
        return self._planner.resolve(request, scale, size).request

    def _resolve(
        self,
        request: RoutingRequest,
        scale: float,
        pixels: Any,  # noqa: ANN401
        layout: Layout,
    ) -> ResolvedRequest:
        images = 1
        if layout.has_alpha and request.budget_ms is not None:
            alpha = pixels[..., -1]
            images = 1 if bool((alpha == alpha[0, 0]).all()) else 2
        arrays = "device" if getattr(pixels, "is_cuda", False) else "host"
        return self._planner.resolve(request, scale, size_of(pixels), arrays, images)


def _open_on_device(bundle: Bundle, backend: str, *options: Any) -> Executor:  # noqa: ANN401
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
