"""A bundle while it is open: what computes its images, on the CPU or on a device, and what plans
their routing.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, ImageError, UsageError

from .backends import BACKENDS
from .cpu.candidates.gate import check_quality
from .cpu.upscaler import HostUpscaler, size_of
from .executor import Executor
from .geometry.grid import hr_size
from .geometry.tiling import LEAST_CORE_PX
from .inputs.arguments import checked, flag, instance, path, text, whole
from .inputs.arrays import as_array
from .inputs.scale import scale_of
from .inputs.targets import as_target
from .layout import Layout
from .machine import usable_cores
from .process.cancellation import Cancellation
from .process.memory import ReusedMemory
from .result import Result, Stats, batched
from .routing.planner import Planner, ResolvedRequest
from .routing.request import RoutingRequest
from .routing.time_model import Key, Workload

MOST_THREADS = 256
CANCELLATION = {"cancellation": instance(Cancellation, optional=True)}
KEPT_CALLS = 64
LOG = logging.getLogger("pcsr.upscaler")
ARGUMENTS = {
    "bundle": path("be the path of a bundle"),
    "device": text("be cpu, cuda or cuda:N"),
    "backend": text(f"be auto, {', '.join(BACKENDS)}"),
    "precision": text("be the name of a precision, as 'fp32'"),
    "threads": whole(f"be from 1 to {MOST_THREADS}, or None", 1, MOST_THREADS, optional=True),
    "tile_px": whole(
        f"be a whole number of at least {LEAST_CORE_PX}, or None", LEAST_CORE_PX, optional=True
    ),
    "passes": text("be auto, fused or graphs"),
    "cuda_graphs": flag(),
    "may_build": flag(),
}
"""What each argument of `Upscaler` may be, but for its routing."""


@dataclass(frozen=True)
class Opening:
    """Describes how a bundle is opened; the fields are arguments of `Upscaler`, `auto` resolved."""

    bundle: Bundle
    device: str
    backend: str
    precision: str
    threads: int | None
    tile_px: int | None
    passes: str
    cuda_graphs: bool
    may_build: bool


@dataclass(frozen=True)
class OpenBundle:
    """What an `Upscaler` holds while it is open."""

    executor: Executor
    planner: Planner
    kept: Callable[[float | None, RoutingRequest], tuple[float, RoutingRequest]]
    """Does what `completed` does, and remembers it."""
    memory: ReusedMemory = field(default_factory=ReusedMemory)
    """Of batches' results."""

    @classmethod
    def of(cls, how: Opening, default: RoutingRequest) -> "OpenBundle":
        """Opens a bundle; `default` is how calls route that name no routing.

        Raises:
            UsageError, BundleError, BackendError, EngineError: as `Upscaler`.
        """
        executor = open_executor(how)
        work, key = partial(_work, executor), partial(_time_key, executor, how)
        planner = Planner(how.bundle, default, work, key)
        kept = lru_cache(KEPT_CALLS, typed=True)(partial(_completed, planner))
        return cls(executor, planner, kept)

    def close(self) -> None:
        """Ends its threads and gives back its memory."""
        self.executor.close()

    def completed(
        self, scale: float | None, request: RoutingRequest
    ) -> tuple[float, RoutingRequest]:
        """Gives the scale and the request that count, as `Upscaler.completed`."""
        try:
            return self.kept(scale, request)
        except TypeError:  # a scale that has no hash, and is none that is taken
            return _completed(self.planner, scale, request)

    def upscaled(
        self,
        image: Any,  # noqa: ANN401
        scale: float | None,
        request: RoutingRequest,
        on_rows: Callable[[int], None] | None = None,
        learns: bool = True,
        cancellation: Cancellation | None = None,
        out: Any = None,  # noqa: ANN401
    ) -> Result:
        """Upscales an image or a batch, as `Upscaler.run`. learns: whether budgets are corrected
        by it.
        """
        if cancellation is not None:
            checked({"cancellation": cancellation}, CANCELLATION)
        scale, request = self.completed(scale, request)
        options = (scale, request, on_rows, learns, cancellation)
        if getattr(image, "ndim", 0) == 4:
            return self._batch(image, options, out)
        pixels, layout = self.executor.look(image)
        if out is not None:
            out = as_target(out, _result_shape(pixels, scale), layout.dtype, pixels)
        return self._one(self.executor, pixels, layout, out, *options)

    def _batch(self, images: Any, options: tuple[Any, ...], out: Any) -> Result:  # noqa: ANN401
        if len(images) == 0:
            raise ImageError(f"expected at least one image, found shape {list(images.shape)}")
        if images.shape[3] not in (1, 2, 3, 4):
            raise ImageError(
                "expected images [N, height, width, 1 to 4 channels], found shape "
                f"{list(images.shape)}; [N, channels, height, width] is transposed first: "
                "images.transpose(0, 2, 3, 1), of a tensor images.permute(0, 2, 3, 1)"
            )
        (pixels, layout), scale = self.executor.look(images[0]), options[0]
        shape = (len(images), *_result_shape(pixels, scale))
        targets: Any = [None] * len(images)
        whole = None
        if out is not None:
            targets = whole = as_target(out, shape, layout.dtype, images)
        elif not getattr(pixels, "is_cuda", False):
            targets = whole = self.memory.take(shape, layout.dtype)
        results: dict[int, Result] = {}

        def compute(executor: Executor, index: int) -> None:
            looked = self.executor.look(images[index])
            results[index] = self._one(executor, *looked, targets[index], *options)

        if options[1].budget_ms is None and options[2] is None:
            self.executor.over_images(len(images), size_of(pixels), compute)
        else:  # a budget is of an image that is alone, and so are counts of its rows
            for index in range(len(images)):
                compute(self.executor, index)
        return batched([results[index] for index in range(len(images))], whole, self.memory.take)

    def _one(
        self,
        executor: Executor,
        pixels: Any,  # noqa: ANN401
        layout: Layout,
        out: NDArray[Any] | None,
        scale: float,
        request: RoutingRequest,
        on_rows: Callable[[int], None] | None,
        learns: bool,
        cancellation: Cancellation | None,
    ) -> Result:
        resolved = self.resolved(request, scale, pixels, layout)
        took = resolved.took if learns else None
        LOG.debug("%s at scale %g: %s", size_of(pixels), scale, resolved.request)
        return executor(pixels, scale, resolved.request, took, on_rows, cancellation, out)

    def streamed(
        self,
        image: Any,  # noqa: ANN401
        take: Callable[[Any], None],
        scale: float | None,
        request: RoutingRequest,
        cancellation: Cancellation | None = None,
    ) -> Stats:
        """Streams an image, as `Upscaler.stream`."""
        checked({"cancellation": cancellation}, CANCELLATION)
        pixels = as_array(image)
        layout = Layout.of(pixels)
        scale, request = self.completed(scale, request)
        if layout.has_alpha:
            raise ImageError("an image with alpha cannot be streamed; upscale it whole")
        resolved = self.resolved(request, scale, pixels, layout)
        stats = self.executor.stream(pixels, take, scale, resolved.request, cancellation)
        if resolved.took is not None:
            resolved.took(lambda: stats.total_ms)
        return stats

    def resolved(
        self,
        request: RoutingRequest,
        scale: float,
        pixels: Any,  # noqa: ANN401
        layout: Layout,
    ) -> ResolvedRequest:
        """Resolves a completed request for an image that the executor looked at."""
        images = 1
        if layout.has_alpha and request.budget_ms is not None:
            alpha = pixels[..., -1]
            images = 1 if bool((alpha == alpha[0, 0]).all()) else 2
        arrays = "device" if getattr(pixels, "is_cuda", False) else "host"
        return self.planner.resolve(request, scale, size_of(pixels), arrays, images)


def _result_shape(pixels: Any, scale: float) -> tuple[int, ...]:  # noqa: ANN401
    return (*hr_size(size_of(pixels), scale), *pixels.shape[2:])


def _completed(
    planner: Planner, scale: float | None, request: RoutingRequest
) -> tuple[float, RoutingRequest]:
    scale = scale_of(scale, planner.bundle.manifest.trained_scale)
    return scale, planner.completed(request, scale)


def open_executor(how: Opening) -> Executor:
    """Opens a bundle.

    Raises:
        UsageError, BundleError, BackendError, EngineError: as `Upscaler`.
    """
    executor = _opened(how)
    _log(how, executor)
    return executor


def _opened(how: Opening) -> Executor:
    where = (how.bundle, how.backend)
    if how.tile_px is not None and how.bundle.manifest.model.receptive_radius_px is None:
        raise UsageError(
            f"{how.bundle.path} is for whole images: it states no receptive radius, so that tiles "
            "would not be exact; leave out --tile (tile_px)"
        )
    on_device = how.device != "cpu" or how.backend in ("torch", "tensorrt")
    if on_device:
        options = (how.passes, how.tile_px, how.cuda_graphs, how.may_build)
        return _open_on_device(*where, how.device, how.precision, *options)
    if how.passes != "auto":
        raise UsageError("passes can be chosen on a GPU only; leave it at auto")
    if how.backend == "native" and how.precision == "bf16":
        check_quality(how.bundle)
    return HostUpscaler(*where, how.precision, how.threads or usable_cores(), how.tile_px)


def _open_on_device(bundle: Bundle, backend: str, *options: Any) -> Executor:  # noqa: ANN401
    try:
        from .gpu.open import open_on_device
    except ModuleNotFoundError as missing:
        raise BackendError(
            f"the {backend} backend needs {missing.name}, which is not installed; install PyTorch "
            "with CUDA (pytorch.org), or run with --device cpu --backend native"
        ) from missing
    except (ImportError, OSError) as broken:
        raise BackendError(f"the {backend} backend does not load: {broken}") from broken
    return open_on_device(bundle, backend, *options)


def _log(how: Opening, executor: Executor) -> None:
    passes = executor.passes
    if passes == "native":
        from .cpu.passes import instructions

        passes = f"native ({instructions()})"
    LOG.info(
        "opened %s: %s on %s, %s, passes %s, threads %s, tiles %s",
        how.bundle.path,
        how.backend,
        how.device,
        how.precision,
        passes,
        executor.threads or "none",
        f"of {how.tile_px} px" if how.tile_px else "by memory",
    )


def _work(by: Executor, size: tuple[int, int], scale: float) -> Workload:
    return Workload(by.backbone_px(size, scale), math.prod(hr_size(size, scale)))


def _time_key(by: Executor, how: Opening, arrays: str) -> Key:
    where = (by.machine, by.kind, how.backend, how.precision, by.passes)
    return Key(*where, by.threads, arrays)
