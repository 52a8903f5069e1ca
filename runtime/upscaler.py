"""A bundle as a callable: image in, upscaled image and routing out."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, ImageError, UsageError

from .backends import choose_backend
from .cpu.upscaler import HostUpscaler, as_array, size_of
from .geometry.grid import hr_size
from .layout import Layout
from .machine import usable_cores
from .result import Result, Stats
from .routing.checks import check_mode
from .routing.planner import Plan, Planner, Wish, Wishes
from .routing.rule import Mode
from .routing.time_model import Key, Work

if TYPE_CHECKING:
    from torch import Tensor

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
        preset, budget_ms, max_psnr_loss_db, adaptive_budget: how calls route that name no routing
            themselves; see there.

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
        preset: str | None = None,
        budget_ms: float | None = None,
        max_psnr_loss_db: float | None = None,
        adaptive_budget: bool = False,
    ) -> None:
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise UsageError(f"threads must be from 1 to {MOST_THREADS}, found {threads}")
        self.bundle = Bundle.load(bundle)
        self.backend = choose_backend(backend, device, precision, self.bundle)
        self.precision = precision
        self._executor = self._open(device, threads, tile_px, passes, cuda_graphs, may_build)
        default = Wish(
            preset=preset,
            budget_ms=budget_ms,
            max_psnr_loss_db=max_psnr_loss_db,
            adaptive_budget=adaptive_budget,
        )
        self._planner = Planner(self.bundle, default, self.work, self.time_key)
        self._planner.wish(default)

    def _open(
        self, device: str, threads: int | None, tile_px: int | None, passes: str, *options: bool
    ) -> "HostUpscaler | DeviceUpscaler":
        where = (self.bundle, self.backend)
        if device != "cpu" or self.backend in ("torch", "tensorrt"):
            return _open_on_device(*where, device, self.precision, passes, tile_px, *options)
        if passes != "auto":
            raise UsageError("passes can be chosen on a GPU only; leave it at auto")
        return HostUpscaler(*where, self.precision, threads or usable_cores(), tile_px)

    @property
    def passes(self) -> str:
        """What is done behind the backbone: `native`, `fused` or `graphs`; `none` for a plain
        network.
        """
        return self._executor.passes

    def keep_shapes(self, count: int) -> None:
        """Keeps what a GPU prepares for a shape (size, scale, way of routing) for the `count` that
        were used last; 4 if nobody asks. Each takes as much of its memory as one image.
        """
        self._executor.keep_shapes(count)

    def time_key(self, arrays: str = "host") -> Key:
        """What the time of a call depends on, but for its size, scale and heavy pixels."""
        by = self._executor
        where = (by.machine, by.kind, self.backend, self.precision, by.passes)
        return Key(*where, by.threads, arrays)

    def work(self, size: tuple[int, int], scale: float) -> Work:
        """What an image of (height, width) amounts to, where a share of heavy pixels is set."""
        backbone_px = self._executor.backbone_px(size, scale)
        return Work(backbone_px, math.prod(hr_size(size, scale)))

    def __call__(
        self,
        image: Any,  # noqa: ANN401
        scale: float | None = None,
        k: float | None = None,
        adaptive: bool = False,
        heavy_ratio: float | None = None,
        refine: bool = True,
        **wishes: Unpack[Wishes],
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
            adaptive: route by the image's own spread of difficulties (ADM) instead of k.
            heavy_ratio: share in [0, 1] of the pixels for the heavy upsampler, instead of k.
            refine: smooth light pixels beside heavy ones (paper section 3.4).
            wishes: instead of k, by what pcsr-calibrate operating-point found: `preset` (quality,
                balanced, fast); `budget_ms`, as many heavy pixels as nine calls of ten compute
                within that time; `max_psnr_loss_db`, as few as lose no more than that in the mean.
                `adaptive_budget=True` corrects the budget's prediction by the frames before.

        Without k, adaptive, heavy_ratio and wishes those of the constructor count.

        Returns the same dtype and channels; float32 results are not clipped. Alpha is upscaled by
        the same network, as a gray image.

        Raises:
            ImageError: an array that is not an image as above.
            UsageError: an option out of range, one that a plain network does not have, or a budget
                too small for light pixels alone.
        """
        scale, wish = self.check_options(scale, k, adaptive, heavy_ratio, **wishes)
        pixels, layout = self._executor.look(image)
        plan = self._plan(wish, scale, pixels, layout)
        took = plan.took if plan.is_watched else None
        return self._executor(pixels, scale, plan.mode, refine, took)  # type: ignore[arg-type]

    def stream(
        self,
        image: Any,  # noqa: ANN401
        take: Callable[[NDArray[Any]], None],
        scale: float | None = None,
        k: float | None = None,
        adaptive: bool = False,
        heavy_ratio: float | None = None,
        refine: bool = True,
        **wishes: Unpack[Wishes],
    ) -> Stats:
        """Upscales one image and hands its rows [n, W, channels] to `take` from top to bottom, as
        soon as they are finished: the output is never whole in memory. Options as in a call.

        heavy_ratio and budgets keep 4 bytes for each output pixel. A budget does not foresee the
        time that `take` needs.

        Raises:
            ImageError: as a call does; an image with alpha.
            UsageError: as a call does.
        """
        pixels = as_array(image)
        layout = Layout.of(pixels)
        scale, wish = self.check_options(scale, k, adaptive, heavy_ratio, **wishes)
        if layout.has_alpha:
            raise ImageError("an image with alpha cannot be streamed; upscale it whole")
        plan = self._plan(wish, scale, pixels, layout)
        stats = self._executor.stream(pixels, take, scale, plan.mode, refine)
        plan.took(lambda: stats.total_ms)
        return stats

    def check_options(
        self,
        scale: float | None = None,
        k: float | None = None,
        adaptive: bool = False,
        heavy_ratio: float | None = None,
        **wishes: Unpack[Wishes],
    ) -> tuple[float, Wish]:
        """The scale and the wish that count in a call with these options.

        Raises:
            UsageError: an option out of range, one that this bundle's network does not have, or one
                that the bundle was not calibrated for.
        """
        wish = Wish(k, adaptive, heavy_ratio, **wishes)
        scale = self.bundle.manifest.trained_scale if scale is None else float(scale)
        if not 1 <= scale <= LARGEST_SCALE:
            raise UsageError(f"scale must be a number from 1 to {LARGEST_SCALE}, found {scale:g}")
        scale = int(scale) if scale == int(scale) else scale
        counting = self._planner.wish(wish)
        check_mode(
            self.bundle, scale, Mode(counting.k or 0.0, counting.adaptive, counting.heavy_ratio)
        )
        return scale, wish

    def _plan(
        self, wish: Wish, scale: float, pixels: "NDArray[Any] | Tensor", layout: Layout
    ) -> Plan:
        images = 1
        if layout.has_alpha and self._planner.wish(wish).budget_ms is not None:
            alpha = pixels[..., -1]
            images = 1 if bool((alpha == alpha[0, 0]).all()) else 2
        arrays = "device" if getattr(pixels, "is_cuda", False) else "host"
        return self._planner.plan(wish, scale, size_of(pixels), arrays, images)


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
