"""Upscales on the CPU: NumPy arrays through a pipeline."""

import math
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.runtime.executor import Executor
from pcsr.runtime.geometry.grid import Floats, hr_size, refuse_huge
from pcsr.runtime.inputs.arrays import as_array
from pcsr.runtime.layout import Layout
from pcsr.runtime.machine import cpu_name
from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.process.memory import ReusedMemory
from pcsr.runtime.result import Result, Stats
from pcsr.runtime.routing.feedback import Ready
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.timing import Stopwatch

from .alpha import bleed_colours
from .open import open_fastest, open_pipeline
from .output import ArrayOutput, Rows, StreamOutput
from .pipeline import Pipeline, Routed, Runner, Task
from .workers import Workers

if TYPE_CHECKING:
    from .parts import HostParts  # needs the compiled passes

PIXELS_OF_ONE_THREAD = 2**14  # of an image of a batch
REUSED_PIXELS = 2**21  # of results (1920x1080) whose memory is used again when nobody holds them

Pixels = NDArray[Any]


class HostUpscaler:
    """The `Executor` of the CPU. It keeps nothing for a shape.

    runner: runs the graphs; None opens one for `backend` and `precision`.
    """

    kind, kept_shapes = "cpu", 0
    choices: Sequence[str] = ()

    def __init__(
        self,
        bundle: Bundle,
        backend: str,
        precision: str,
        threads: int,
        tile_px: int | None,
        runner: Runner | None = None,
    ) -> None:
        native = backend == "native"
        self.machine, self.threads = cpu_name(), threads
        self.passes = "none" if bundle.kind == "plain" else "native" if native else "graphs"
        self._bundle, self._workers, self._memory = bundle, Workers(threads), ReusedMemory()
        self._has_single, self._lock = runner is None and precision == "fp32", Lock()
        if runner is None:
            runner, self.choices = open_fastest(backend, bundle, precision, threads)
        bf16 = precision == "bf16"
        self._pipeline = open_pipeline(bundle, runner, self._workers, native, tile_px, bf16)
        self._single: HostUpscaler | None = None
        self._open_single = partial(HostUpscaler, bundle, backend, precision, 1, tile_px)

    @property
    def bundle(self) -> Bundle:
        """The bundle whose graphs run."""
        return self._bundle

    @property
    def pipeline(self) -> Pipeline:
        """What an image goes through."""
        return self._pipeline

    @property
    def workers(self) -> Workers:
        """The threads."""
        return self._workers

    def keep_shapes(self, count: int) -> None: ...

    def forget_shapes(self) -> None: ...

    def close(self) -> None:
        self._workers.close()
        del self._pipeline
        if self._single is not None:
            self._single.close()

    def look(self, image: Any) -> tuple[Pixels, Layout]:  # noqa: ANN401
        pixels = as_array(image)
        return pixels, Layout.of(pixels)

    def parts(self) -> "HostParts":
        """Gives what computes parts of images. Raises as `HostParts`."""
        from .parts import HostParts

        return HostParts(self._bundle, self._pipeline)

    def backbone_px(self, size: tuple[int, int], scale: float) -> int:
        return self._pipeline.backbone_px(size, scale)

    def __call__(
        self,
        pixels: Pixels,
        scale: float,
        request: RoutingRequest,
        took: Callable[[Ready], None] | None = None,
        on_rows: Callable[[int], None] | None = None,
        cancellation: Cancellation | None = None,
        out: Pixels | None = None,
    ) -> Result:
        result = self._upscale(pixels, scale, request, on_rows, cancellation, out)
        if took is not None:
            took(lambda: result.stats.total_ms)
        return result

    def over_images(
        self, count: int, size: tuple[int, int], compute: Callable[[Executor, int], None]
    ) -> None:
        """As `Executor`: small images go to the threads one each, which need not wait for each
        other then.
        """
        if count < self.threads or self.threads == 1 or math.prod(size) > PIXELS_OF_ONE_THREAD:
            for index in range(count):
                compute(self, index)
            return
        single = self._of_one_thread()
        contexts = [copy_context() for _ in range(count)]  # spans are recorded where they were

        def work(part: slice) -> None:
            contexts[part.start].run(compute, single, part.start)

        self._workers.over_ranges((slice(index, index + 1) for index in range(count)), work)

    def _of_one_thread(self) -> Executor:
        """Gives what computes an image on the calling thread alone, opened when it is first needed.
        In fp32 its results are the same ones; elsewhere another runner may be the fastest then.
        """
        if not self._has_single:
            return self
        with self._lock:
            self._single = self._single or self._open_single()
            return self._single

    def _upscale(
        self,
        pixels: Pixels,
        scale: float,
        request: RoutingRequest,
        on_rows: Callable[[int], None] | None,
        cancellation: Cancellation | None,
        out: Pixels | None = None,
    ) -> Result:
        watch = Stopwatch(cancellation)
        with watch.stage("prepare"):
            layout = Layout.of(pixels)
            refuse_huge(size_of(pixels), scale)
            whole = self._rows(hr_size(size_of(pixels), scale), layout, out)
            output = ArrayOutput(whole, on_rows)
        shown = pixels
        if layout.has_alpha:
            with watch.stage("alpha"):
                layout.check_values(pixels)
                shown = bleed_colours(pixels)
        routed = self._pipeline.run(self.task(shown, layout, scale, request), output, watch)
        colour = whole.pixels
        if layout.is_gray:
            with watch.stage("convert"):
                colour = self._to_gray(colour, layout)
        if layout.has_alpha:
            with watch.stage("alpha"):
                alpha = self._upscale_alpha(pixels[..., -1], scale, request, on_rows, cancellation)
                colour = np.concatenate([colour, alpha], axis=2, dtype=layout.dtype)
        colour = colour if pixels.ndim == 3 else colour[..., 0]
        if out is not None and colour is not out:
            with watch.stage("convert"):
                np.copyto(out, colour)
                colour = out
        if colour.dtype != layout.dtype:
            with watch.stage("convert"):
                colour = colour.astype(layout.dtype)  # its byte order is foreign
        stats = _stats(pixels, scale, routed, watch)
        if self._bundle.kind == "plain":
            return Result(colour, None, None, stats)
        count = self._bundle.upsamplers
        return Result(colour, whole.assignment, whole.difficulty, stats, count)

    def _rows(self, size: tuple[int, int], layout: Layout, out: Pixels | None) -> Rows:
        """Makes what an image's rows are written into; for RGB, `out` itself."""
        dtype, pixels = layout.working_dtype, out
        reuses = out is not None or math.prod(size) <= REUSED_PIXELS
        if layout.is_gray:
            pixels = self._memory.take((*size, 3), dtype)
        elif layout.has_alpha or layout.dtype != dtype:
            pixels = None
        return Rows.empty(size, dtype, self._memory.take if reuses else np.empty, pixels)

    def task(self, pixels: Pixels, layout: Layout, scale: float, request: RoutingRequest) -> Task:
        """Says what is asked of the pipeline for an image."""

        def read(first: int, stop: int) -> Floats:
            shape = (1, 3, stop - first, pixels.shape[1])
            planes = self._memory.take(shape, np.float32)
            return layout.to_network(pixels[first:stop], planes)

        return Task(size_of(pixels), read, scale, request)

    def stream(
        self,
        pixels: Pixels,
        take: Callable[[Pixels], None],
        scale: float,
        request: RoutingRequest,
        cancellation: Cancellation | None = None,
    ) -> Stats:
        watch, layout = Stopwatch(cancellation), Layout.of(pixels)

        def hand_on(rows: Pixels) -> None:
            with watch.stage("convert"):
                rows = layout.from_network(rows) if layout.is_gray else rows
                rows = rows.astype(layout.dtype, copy=False)
            with watch.stage("take"):
                take(rows)

        output = StreamOutput(hr_size(size_of(pixels), scale), layout.working_dtype, hand_on)
        routed = self._pipeline.run(self.task(pixels, layout, scale, request), output, watch)
        return _stats(pixels, scale, routed, watch)

    def _to_gray(self, rgb: Floats, layout: Layout) -> Pixels:
        out = np.empty((*rgb.shape[:2], 1), dtype=layout.dtype)

        def work(rows: slice) -> None:
            out[rows] = layout.from_network(rgb[rows])

        self._workers.over_rows(rgb.shape[:2], work)
        return out

    def _upscale_alpha(
        self,
        alpha: Pixels,
        scale: float,
        request: RoutingRequest,
        on_rows: Callable[[int], None] | None,
        cancellation: Cancellation | None,
    ) -> Pixels:
        if (alpha == alpha[0, 0]).all():
            size = [round(n * scale) for n in alpha.shape]
            if on_rows is not None:
                on_rows(size[0])
            return np.full((*size, 1), alpha[0, 0], dtype=alpha.dtype)
        return self._upscale(alpha, scale, request, on_rows, cancellation).image[..., None]


def size_of(pixels: Any) -> tuple[int, int]:  # noqa: ANN401
    """Gives the (height, width) of an array or a tensor."""
    return pixels.shape[0], pixels.shape[1]


def _stats(pixels: Pixels, scale: float, routed: Routed, watch: Stopwatch) -> Stats:
    return Stats.timed(
        lambda: watch.stage_ms,
        lr_size=size_of(pixels),
        hr_size=hr_size(size_of(pixels), scale),
        pixels_per_upsampler=tuple(routed.counts.tolist()),
        threshold=routed.threshold,
        total_ms=watch.total_ms,
    )
