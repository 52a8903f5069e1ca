"""Defines what is timed: callers, what they answer, and the time of a call by the wall clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from pcsr.runtime.upscaler import Result, Upscaler

T = TypeVar("T")
CallOptions = Mapping[str, Any]


@dataclass(frozen=True)
class Details:
    """Holds what a call tells of itself."""

    pixels: tuple[int, ...] = ()
    """Output pixels of each upsampler, the heaviest first; empty without routing."""
    threshold: float | None = None
    """The difficulty above which pixels were heavy; None where the caller does not say."""
    stage_ms: Mapping[str, float] = field(default_factory=dict)


class Answer(NamedTuple):
    """Holds what a call gives: the image [H, W, 3], on the device where one on the device was
    given, and its details, which wait for the device.
    """

    image: Any
    details: Callable[[], Details] = Details


Caller = Callable[[Any, CallOptions], Answer]
"""(image [h, w, 3] uint8, an array or a tensor on the device; options of the call) -> answer."""


@dataclass(frozen=True)
class Measurement:
    """A measurement is what one turn took; on the CPU there are no times of a device."""

    host_ms: float | None = None
    """Wall time of a call from array to array; None where the turn made none."""
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    """By stage, of the call that took `staged_ms` as a whole."""
    staged_ms: float | None = None
    pixels: tuple[int, ...] = ()
    """Output pixels of each upsampler, the heaviest first."""
    device_ms: float | None = None
    """Time on the device of a call from tensor to tensor."""
    enqueue_ms: float | None = None
    """Time until the host had queued that call."""
    h2d_ms: float | None = None
    """Copy to the device, within `host_ms`."""
    d2h_ms: float | None = None
    """Copy from the device, within `host_ms`."""

    @property
    def ms(self) -> float | None:
        """Gives the time that counts: that on the device where there is one, else the wall time."""
        return self.host_ms if self.device_ms is None else self.device_ms


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Gives the milliseconds of wall time until a call returns, and its result."""
    start = perf_counter()
    result = call()
    return 1000 * (perf_counter() - start), result


def upscaler_caller(upscaler: "Upscaler", **fixed: Any) -> Caller:  # noqa: ANN401
    """Makes a caller of an `Upscaler`. fixed: options of every call."""

    def call(image: Any, options: CallOptions) -> Answer:  # noqa: ANN401
        result = upscaler(image, **fixed, **options)
        return Answer(result.image, partial(_details, result))

    return call


def _details(result: "Result") -> Details:
    stats = result.stats
    return Details(stats.pixels_per_upsampler, stats.threshold, dict(stats.stage_ms))
