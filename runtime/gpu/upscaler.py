"""Upscales on a device: NumPy arrays are sent there and back, tensors stay."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from pcsr.bundle import Bundle
from pcsr.errors import ImageError
from pcsr.runtime.executor import Executor
from pcsr.runtime.geometry.grid import refuse_huge
from pcsr.runtime.geometry.tiling import seen_pixels
from pcsr.runtime.layout import Layout
from pcsr.runtime.machine import cpu_name
from pcsr.runtime.mlps import load_mlps
from pcsr.runtime.process.cancellation import Cancellation, locked
from pcsr.runtime.result import FetchedResult, Result, Stats
from pcsr.runtime.routing.feedback import Ready
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.torch_backend.arithmetic import exact_arithmetic, isolated
from pcsr.runtime.torch_backend.capture import free_cached_memory

from .frame import AnyFrame, DeviceCall, Frame, FrameShape, PlainFrame, size_of
from .frame_result import FrameResult
from .images import (
    Alpha,
    as_tensor,
    bleed_colours,
    from_gray,
    layout_of,
    luma_weights,
    to_network,
)
from .loaded_bundle import LoadedBundle, make_passes, tiles_of
from .memory import TileSides
from .recording import FrameCache, RecordedFrame
from .runners.protocol import DeviceRunner
from .runners.side_stream import SideStream
from .timing import DeviceSpan, make_timer


class DeviceUpscaler(Executor):
    """The executor of one device. Any number of threads may call it; one frame is queued
    at a time.

    A frame that runs out of memory is tried again without what is kept for other shapes, then in
    tiles of half the side; warnings say so.
    """

    @isolated()
    def __init__(
        self,
        bundle: Bundle,
        runner: DeviceRunner,
        precision: str = "fp32",
        passes: str = "auto",
        tile_px: int | None = None,
        cuda_graphs: bool = True,
    ) -> None:
        self._bundle, self._runner, self.device = bundle, runner, runner.device
        self._count = bundle.upsamplers
        self._loaded: LoadedBundle | None = None
        if bundle.kind == "pcsr":
            made = make_passes(passes, runner, precision, load_mlps(bundle))
            self._loaded = LoadedBundle(bundle, runner, made)
        self._luma = luma_weights(self.device)
        self._records = cuda_graphs and self.device.type == "cuda"
        self._frames = FrameCache()
        can_tile = bundle.kind == "pcsr" or bundle.manifest.model.receptive_radius_px is not None
        self._sides = TileSides(self.device, tile_px, self._frames, can_tile)
        self._side = SideStream(self.device)
        self._lock = threading.Lock()

    @property
    def passes(self) -> str:
        return self._loaded.passes.name if self._loaded else "none"

    @property
    def choices(self) -> Sequence[str]:
        return self._runner.choices

    @property
    def kept_shapes(self) -> int:
        return len(self._frames)

    def keep_shapes(self, count: int) -> None:
        self._frames.keep(count)

    def forget_shapes(self) -> None:
        self._frames.clear()

    def close(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # a result may be under way still
        self._frames.clear()
        del self._loaded, self._runner
        if self.device.type == "cuda":
            free_cached_memory()

    @property
    def kind(self) -> str:
        return self.device.type

    @property
    def machine(self) -> str:
        if self.device.type != "cuda":
            return cpu_name()
        return torch.cuda.get_device_name(self.device)

    @property
    def threads(self) -> int:
        return torch.get_num_threads() if self.device.type == "cpu" else 0

    @isolated()
    def look(self, image: Any) -> tuple[Tensor, Layout]:  # noqa: ANN401
        given = as_tensor(image)
        return given, layout_of(given)

    def backbone_px(self, size: tuple[int, int], scale: float) -> int:
        if self._loaded is None:
            return 0
        return seen_pixels(self._loaded.tiles(size, self._sides.side(size, scale)))

    def __call__(
        self,
        pixels: Any,  # noqa: ANN401
        scale: float,
        request: RoutingRequest,
        took: Callable[[Ready], None] | None = None,
        on_rows: Callable[[int], None] | None = None,
        cancellation: Cancellation | None = None,
        out: NDArray[Any] | None = None,
    ) -> Result:
        """Upscales as `Executor.__call__`. Of a CUDA tensor the results are tensors on the device,
        nothing waits for them, and `took` is told the device's time; else NumPy arrays. `on_rows`
        is told of all rows at once.
        """
        with isolated():
            given, layout = self.look(pixels)
            size, stays = size_of(given), given.is_cuda
            timer = make_timer(self.device, stays, cancellation)
            refuse_huge(size, scale)
            if not stays:
                with timer.host_stage("prepare"):
                    layout.check_values(given.numpy())
            task = DeviceCall(layout, scale, request, timer)
            span = DeviceSpan() if stays and took is not None else None
            parts, wait = self._queued(given, task, span)
        if on_rows is not None:
            on_rows(round(size[0] * scale) * (2 if layout.has_alpha else 1))
        queued_ms = timer.total_ms

        def measured() -> Stats:
            wait()
            total_ms = queued_ms if stays else timer.total_ms
            return parts.stats(size, scale, timer.stage_ms, total_ms)

        if stays:
            if took is not None and span is not None:
                took(span.ready)
            return Result(*parts.arrays, measured, self._count)
        stats = measured()
        if took is not None:
            took(lambda: stats.total_ms)
        with isolated():
            image = parts.image.numpy()
        if out is not None:
            out[:] = image
            image = out
        if parts.labels is None:
            return Result(image, None, None, stats, self._count)
        return FetchedResult.of(image, parts.fetch_routing(), stats, self._count)

    def _queued(
        self, given: Tensor, task: DeviceCall, span: DeviceSpan | None
    ) -> tuple[FrameResult, Callable[[], None]]:
        """Queues a call from the upload to the download, and gives a function that waits for it.
        Of a CUDA tensor the result stays on the device, and `span` takes the device's time.
        """
        with locked(self._lock, task.timer.cancellation), self._entered():
            self._side.lend(given)
            if span is not None:
                span.start.record()
            with task.timer.stage("upload"):
                local = given.to(self.device, non_blocking=True)
            parts = self._upscale(local, task)
            if span is not None:
                span.stop.record()
            if given.is_cuda:
                self._side.hand_over(*vars(parts).values())
            else:
                with task.timer.stage("download"):
                    parts = parts.downloaded()
            return parts, self._side.waiter()

    def stream(
        self,
        pixels: NDArray[Any],
        take: Callable[[NDArray[Any]], None],
        scale: float,
        request: RoutingRequest,
        cancellation: Cancellation | None = None,
    ) -> Stats:
        """Streams as `Upscaler.stream`: rows leave the device band by band."""
        given, layout = self.look(pixels)
        timer = make_timer(self.device, False, cancellation)
        with isolated(), timer.host_stage("prepare"):
            layout.check_values(given.numpy())
        ours = ExitStack()
        task = DeviceCall(layout, scale, request, timer)
        handed_on = False

        def hand_on(rows: Tensor) -> None:
            nonlocal handed_on
            handed_on = True
            with timer.stage("convert"):
                rows = from_gray(rows, self._luma, layout) if layout.is_gray else rows
            with timer.stage("download"):
                found = rows.to("cpu", copy=True).numpy()
            ours.close()  # the caller's function runs under the caller's settings
            try:
                with timer.host_stage("take"):
                    take(found)
            finally:
                ours.enter_context(self._entered())

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

        with locked(self._lock, cancellation), ours:
            ours.enter_context(self._entered())
            parts = self._sides.fitting(run, task.shape(given), keeps=False)
        total_ms = timer.total_ms
        return parts.stats(size_of(given), scale, timer.stage_ms, total_ms)

    @contextmanager
    def _entered(self) -> Iterator[None]:
        with isolated(), self._side.entered(), exact_arithmetic():
            yield

    def _upscale(self, image: Tensor, task: DeviceCall) -> FrameResult:
        stage, shown, alpha = task.timer.stage, image, None
        if task.layout.has_alpha:
            with stage("alpha"):  # looked at before the frame is queued: that is waited for
                alpha = Alpha.of(image)
                shown = bleed_colours(image) if alpha.hides_some else image
        parts = self._sides.fitting(lambda: self._run(shown, task), task.shape(image))
        pixels = parts.image
        if task.layout.is_gray:
            with stage("convert"):
                pixels = from_gray(pixels, self._luma, task.layout)
        if alpha is not None:
            upscaled = self._upscale_alpha(image[..., -1], alpha, task)
            with stage("alpha"):
                pixels = torch.cat([pixels, upscaled], 2)
        return replace(parts, image=pixels if image.ndim == 3 else pixels[..., 0])

    def _upscale_alpha(self, plane: Tensor, alpha: Alpha, task: DeviceCall) -> Tensor:
        if alpha.is_flat:
            size = [round(n * task.scale) for n in plane.shape]
            return plane[0, 0].expand(*size, 1)
        task = replace(task, layout=Layout(task.layout.dtype, 0))
        return self._upscale(plane, task).image[..., None]

    def _run(self, image: Tensor, task: DeviceCall) -> FrameResult:
        stage = task.timer.stage
        with stage("prepare"):
            recorded = self._frames.get(task.shape(image), self._recorded)
            self._fill(recorded.frame, image, task)
        recorded.run(stage)
        with stage("copy"):
            return FrameResult.of(recorded.frame)

    def _fill(self, frame: AnyFrame, image: Tensor, task: DeviceCall) -> None:
        frame.image.copy_(to_network(image, task.layout)[None])
        frame.set_request(task.request)

    def _recorded(self, shape: FrameShape) -> RecordedFrame:
        return RecordedFrame(self._frame(shape), self._records)

    def _frame(self, shape: FrameShape, keep: bool = True) -> AnyFrame:
        tile_px = self._sides.side(shape.lr_size, shape.scale)
        if self._loaded is None:
            tiles = tiles_of(self._bundle, self._runner, shape.lr_size, tile_px)
            return PlainFrame(self._runner, shape, tiles)
        return Frame(self._loaded, shape, tile_px, keep)
