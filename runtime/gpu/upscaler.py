"""Upscales on a device: NumPy arrays are sent there and back, tensors stay."""

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from pcsr.bundle import Bundle
from pcsr.errors import ImageError
from pcsr.runtime.devices import torch_device
from pcsr.runtime.geometry.grid import refuse_huge
from pcsr.runtime.geometry.tiling import seen_pixels
from pcsr.runtime.layout import Layout
from pcsr.runtime.machine import cpu_name
from pcsr.runtime.result import Result, Stats
from pcsr.runtime.routing.feedback import Ready
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.torch_backend.arithmetic import exact_arithmetic

from .frame import AnyFrame, Frame, FrameShape, PlainFrame
from .frame_result import FrameResult
from .images import DTYPES, as_tensor, from_gray, layout_of, to_network
from .loaded_bundle import LoadedBundle
from .recording import FrameCache, RecordedFrame
from .runners.open import open_runner
from .runners.protocol import DeviceRunner
from .runners.side_stream import SideStream
from .timing import DeviceSpan, Timer, make_timer

LEAST_TILE_PX = 32


class DeviceUpscaler:
    """The `Executor` of one device. Any number of threads may call it; one frame is queued
    at a time.

    A frame that runs out of memory is tried again in tiles of half the side, and a warning says so.
    """

    def __init__(
        self,
        bundle: Bundle,
        runner: DeviceRunner,
        precision: str = "fp32",
        passes: str = "auto",
        tile_px: int | None = None,
        cuda_graphs: bool = True,
    ) -> None:
        self._runner, self.device = runner, runner.device
        self._count = bundle.upsamplers
        self._loaded: LoadedBundle | None = None
        if bundle.kind == "pcsr":
            self._loaded = LoadedBundle.load(bundle, runner, precision, passes)
        self.tile_px = tile_px
        records = cuda_graphs and self.device.type == "cuda"
        self._frames = FrameCache(lambda shape: RecordedFrame(self._frame(shape), records))
        self._side = SideStream(self.device)
        self._lock = threading.Lock()

    @property
    def passes(self) -> str:
        """`fused` or `graphs`; `none` for a plain network."""
        return self._loaded.passes.name if self._loaded else "none"

    @property
    def kept_shapes(self) -> int:
        """How many shapes have a frame."""
        return len(self._frames)

    def keep_shapes(self, count: int) -> None:
        """See `Upscaler.keep_shapes`."""
        self._frames.keep(count)

    def forget_shapes(self) -> None:
        """See `Upscaler.forget_shapes`."""
        self._frames.clear()

    @property
    def kind(self) -> str:
        """`cpu` or `cuda`."""
        return self.device.type

    @property
    def machine(self) -> str:
        """The name of what the work runs on."""
        if self.device.type != "cuda":
            return cpu_name()
        return torch.cuda.get_device_name(self.device)

    @property
    def threads(self) -> int:
        """How many threads of the CPU compute, where the work runs there; else 0."""
        return torch.get_num_threads() if self.device.type == "cpu" else 0

    def look(self, image: Any) -> tuple[Tensor, Layout]:  # noqa: ANN401
        """Takes an image as a tensor where it is, with its layout; raises ImageError for none."""
        given = as_tensor(image)
        return given, layout_of(given)

    def backbone_px(self, size: tuple[int, int], scale: float) -> int:
        """Counts the input pixels that the backbone computes of an image, halos included."""
        return seen_pixels(self._loaded.tiles(size, self.tile_px)) if self._loaded else 0

    def __call__(
        self,
        pixels: Any,  # noqa: ANN401
        scale: float,
        request: RoutingRequest,
        took: Callable[[Ready], None] | None = None,
    ) -> Result:
        """Upscales as `Upscaler.__call__`, with a scale and a request that were checked. Of a CUDA
        tensor the results are tensors on the device, and nothing waits for them; else NumPy arrays.

        took: is told how to ask for the time of the frame (of a CUDA tensor: on the device).
        """
        given = as_tensor(pixels)
        layout, stays = layout_of(given), given.is_cuda
        timer = make_timer(self.device, stays)
        refuse_huge(_size(given), scale)
        if not stays:
            with timer.host_stage("prepare"):
                layout.refuse_nan(given.numpy())
        task = _Task(layout, scale, request, timer)
        span = DeviceSpan() if stays and took is not None else None
        with self._lock, self._side.entered(), exact_arithmetic():
            self._side.lend(given)
            if span is not None:
                span.start()
            with timer.stage("upload"):
                local = given.to(self.device, non_blocking=True)
            parts = self._upscale(local, task)
            if stays:
                if span is not None:
                    span.stop()
                self._side.hand_over(*parts.tensors)
            else:
                with timer.stage("download"):
                    parts = parts.downloaded()
            wait = self._side.waiter()
        queued_ms = timer.total_ms

        def measured() -> Stats:
            wait()
            total_ms = queued_ms if stays else timer.total_ms
            return parts.stats(_size(given), scale, timer.stage_ms, total_ms)

        if stays:
            if took is not None and span is not None:
                took(span.ready)
            return self._result(parts.arrays, measured)
        stats = measured()
        if took is not None:
            took(lambda: stats.total_ms)
        return self._result([None if a is None else a.numpy() for a in parts.arrays], stats)

    def stream(
        self,
        pixels: NDArray[Any],
        take: Callable[[NDArray[Any]], None],
        scale: float,
        request: RoutingRequest,
    ) -> Stats:
        """Streams as `Upscaler.stream`: rows leave the device band by band."""
        given = as_tensor(pixels)
        layout = layout_of(given)
        timer = make_timer(self.device, False)
        with timer.host_stage("prepare"):
            layout.refuse_nan(given.numpy())
        task = _Task(layout, scale, request, timer)
        handed_on = False

        def hand_on(rows: Tensor) -> None:
            nonlocal handed_on
            handed_on = True
            with timer.stage("convert"):
                rows = from_gray(rows, layout) if layout.is_gray else rows
            with timer.stage("download"):
                found = rows.to("cpu", copy=True).numpy()
            with timer.host_stage("take"):
                take(found)

        def run() -> FrameResult:
            nonlocal handed_on
            if handed_on:
                raise ImageError("the device is out of memory in the middle of this image")
            with timer.stage("upload"):
                local = given.to(self.device)
            with timer.stage("prepare"):
                frame = self._frame(task.shape(given), keep=False)
                self._fill(frame, local, task)
            frame.run(timer.stage, hand_on)
            return FrameResult.of(frame)

        with self._lock, self._side.entered(), exact_arithmetic():
            parts = self._within_memory(run, given)
        total_ms = timer.total_ms
        return parts.stats(_size(given), scale, timer.stage_ms, total_ms)

    def _result(self, arrays: list[Any], measured: Stats | Callable[[], Stats]) -> Result:
        image, labels, difficulty = arrays
        return Result(image, labels, difficulty, measured, self._count)

    def _upscale(self, image: Tensor, task: "_Task") -> FrameResult:
        parts = self._within_memory(lambda: self._run(image, task), image)
        pixels, stage = parts.image, task.timer.stage
        if task.layout.is_gray:
            with stage("convert"):
                pixels = from_gray(pixels, task.layout)
        if task.layout.has_alpha:
            alpha = self._upscale_alpha(image[..., -1], task)
            with stage("alpha"):
                pixels = torch.cat([pixels, alpha], 2)
        return parts.with_image(pixels if image.ndim == 3 else pixels[..., 0])

    def _upscale_alpha(self, alpha: Tensor, task: "_Task") -> Tensor:
        with task.timer.stage("alpha"):
            is_flat = bool((alpha == alpha[0, 0]).all())
        if is_flat:
            size = [round(n * task.scale) for n in alpha.shape]
            return alpha[0, 0].expand(*size, 1)
        return self._upscale(alpha, task.of_alpha()).image[..., None]

    def _run(self, image: Tensor, task: "_Task") -> FrameResult:
        stage = task.timer.stage
        with stage("prepare"):
            recorded = self._frames.get(task.shape(image))
            self._fill(recorded.frame, image, task)
        recorded.run(stage)
        with stage("copy"):
            return FrameResult.of(recorded.frame)

    def _fill(self, frame: AnyFrame, image: Tensor, task: "_Task") -> None:
        frame.image.copy_(to_network(image, task.layout)[None])
        frame.set_request(task.request)

    def _frame(self, shape: FrameShape, keep: bool = True) -> AnyFrame:
        if self._loaded is None:
            return PlainFrame(self._runner, shape)
        return Frame(self._loaded, shape, self.tile_px, keep)

    def _within_memory(self, run: Callable[[], FrameResult], image: Tensor) -> FrameResult:
        while True:
            try:
                return run()
            except torch.OutOfMemoryError as error:
                self._shrink_tiles(_size(image), error)

    def _shrink_tiles(self, size: tuple[int, int], error: Exception) -> None:
        self._frames.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        tile_px = (self.tile_px or max(size)) // 2
        if tile_px < LEAST_TILE_PX or self._loaded is None:
            raise ImageError(
                f"{self.device} has too little memory for an image of {size[0]}x{size[1]} pixels: "
                f"{str(error).splitlines()[0]}"
            ) from error
        self.tile_px = tile_px
        warnings.warn(
            f"{self.device} is out of memory: going on in tiles of {tile_px} px",
            ResourceWarning,
            stacklevel=2,
        )


def open_on_device(
    bundle: Bundle,
    backend: str,
    device: str,
    precision: str,
    passes: str,
    tile_px: int | None,
    cuda_graphs: bool,
    may_build: bool,
) -> DeviceUpscaler:
    """Opens a bundle on a device, with arguments as of `Upscaler`.

    Raises:
        BackendError: the backend, the device or the kernels are not there.
        EngineError: there are no TensorRT engines, and none can or may be built.
    """
    runner = open_runner(backend, bundle, precision, torch_device(device), may_build)
    return DeviceUpscaler(bundle, runner, precision, passes, tile_px, cuda_graphs)


@dataclass(frozen=True)
class _Task:
    layout: Layout
    scale: float
    request: RoutingRequest
    timer: Timer

    def shape(self, image: Tensor) -> FrameShape:
        dtype = DTYPES[self.layout.working_dtype.name]
        return FrameShape.of(_size(image), self.scale, self.request, dtype)

    def of_alpha(self) -> "_Task":
        layout = Layout(self.layout.dtype, 0)
        return _Task(layout, self.scale, self.request, self.timer)


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[0], image.shape[1]
