"""One stream of frames, as `Upscaler.sequence` gives it."""

import threading
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError
from pcsr.runtime.cpu.upscaler import HostUpscaler, size_of
from pcsr.runtime.executor import Executor
from pcsr.runtime.geometry.grid import hr_size, refuse_huge
from pcsr.runtime.inputs.arguments import checked, number, one_of
from pcsr.runtime.inputs.arrays import as_array, is_tensor
from pcsr.runtime.layout import Layout
from pcsr.runtime.open import CANCELLATION, OpenBundle
from pcsr.runtime.process.cancellation import Cancellation, locked
from pcsr.runtime.process.lifetime import Lifetime
from pcsr.runtime.result import Result, Stats, as_tensors
from pcsr.runtime.routing.request import RoutingRequest

from .alpha import AlphaSequence
from .calls import Call, Clock
from .elsewhere import WholeSequence
from .made import Made, read_only
from .pictures import PictureSequence

Pixels = NDArray[Any]
MOST_LEVELS = 255
ARGUMENTS = {
    "reuse": one_of("exact", "off"),
    "within": number(
        f"be a number of levels from 0 to {MOST_LEVELS}", lambda n: 0 <= n <= MOST_LEVELS
    ),
}
"""What the arguments of a sequence may be."""


class FrameSequence:
    """Upscales the frames of one stream, and computes of each what changed since the one before;
    see `Upscaler.sequence`. Any number of threads may call it; it takes one frame at a time.

    Examples:
        >>> from pcsr import Upscaler
        >>> with Upscaler("carn-pcsr/").sequence(adaptive=True) as frames:
        ...     first, second = frames(photo), frames(photo)
        >>> (first.image == second.image).all(), second.stats.reused_share
        (np.True_, 1.0)
    """

    def __init__(
        self,
        opened: Lifetime[OpenBundle],
        scale: float | None,
        request: RoutingRequest,
        reuse: str,
        within: float,
    ) -> None:
        given = checked({"reuse": reuse, "within": within}, ARGUMENTS)
        if given["reuse"] == "off" and given["within"] > 0:
            raise UsageError("within says what is reused, and reuse is off; leave one of them out")
        self._opened, self._reuses, self._within = (
            opened,
            given["reuse"] == "exact",
            given["within"],
        )
        with opened.used() as now:
            self._scale, self._request = now.completed(scale, request)
        self._lock, self._is_over = threading.Lock(), False
        self._executor: Executor | None = None
        self._pictures: PictureSequence | AlphaSequence | WholeSequence | None = None
        self._has_alpha = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives back what is kept of the frame before; calls after it raise UsageError."""
        with self._lock:
            self._is_over, self._pictures = True, None

    def __call__(
        self,
        image: Any,  # noqa: ANN401
        *,
        cancellation: Cancellation | None = None,
    ) -> Result:
        """Upscales the next frame, with the result that a call of the Upscaler has for it, bit for
        bit. `stats.reused_share` says how much of it is the one before's. The arrays are
        read-only, as frames that are equal share them: copy what you write to.

        After an error, one that `cancellation` brings too, the next frame is computed whole. So it
        is where its size, channels or dtype are not those of the one before.

        Raises:
            ImageError, UsageError, CancelledError: as a call of the Upscaler does.
        """
        checked({"cancellation": cancellation}, CANCELLATION)
        with self._opened.used() as now:
            if self._is_over:
                raise UsageError("this sequence is closed; call sequence() again")
            pixels, layout = now.executor.look(image)
            if not self._reuses or getattr(pixels, "is_cuda", False):
                result = now.upscaled(image, self._scale, self._request, cancellation=cancellation)
                return as_tensors(result) if is_tensor(image) else result
            with locked(self._lock, cancellation):
                result = self._next(now, as_array(pixels), layout, cancellation)
        return as_tensors(_copied(result)) if is_tensor(image) else result

    def _next(
        self, now: OpenBundle, pixels: Pixels, layout: Layout, cancellation: Cancellation | None
    ) -> Result:
        size = size_of(pixels)
        refuse_huge(size, self._scale)
        resolved = now.resolved(self._request, self._scale, pixels, layout)
        call = Call(self._scale, resolved.request)
        if self._pictures is None or self._executor is not now.executor:
            self._executor, self._pictures = now.executor, None
        if self._pictures is None or self._has_alpha != layout.has_alpha:
            self._has_alpha = layout.has_alpha
            self._pictures = _opened(now.executor, layout, self._within)
        if isinstance(self._pictures, WholeSequence):
            return self._pictures.advance(pixels, call, resolved.took, cancellation)
        clock = Clock(cancellation)
        made, share = self._pictures.advance(pixels, call, clock)
        stage_ms, total_ms = clock.times()
        if resolved.took is not None and share == 0:
            resolved.took(lambda: total_ms)
        hr = hr_size(size, self._scale)
        stats = Stats(size, hr, made.counts, made.threshold, stage_ms, total_ms, share)
        return _result(made, stats, now.planner.bundle.upsamplers)


def _opened(
    executor: Executor, layout: Layout, within: float
) -> PictureSequence | AlphaSequence | WholeSequence:
    if not isinstance(executor, HostUpscaler):
        return WholeSequence(executor, within)
    kind = AlphaSequence if layout.has_alpha else PictureSequence
    return kind(executor, within)


def _result(made: Made, stats: Stats, upsamplers: int) -> Result:
    image = read_only(made.image)
    if made.assignment is None or made.difficulty is None:
        return Result(image, None, None, stats)
    return Result(image, read_only(made.assignment), read_only(made.difficulty), stats, upsamplers)


def _copied(result: Result) -> Result:
    """Copies the arrays: a tensor cannot be read-only."""
    image, assignment, difficulty = (
        None if array is None else np.array(array)
        for array in (result.image, result.assignment, result.difficulty)
    )
    assert image is not None
    return Result(image, assignment, difficulty, result.measured, result.upsamplers)
