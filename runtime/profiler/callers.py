"""One call of an opened bundle, measured from the host."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from .cases import Engine, Spec
from .cold import FirstUse, first_use

if TYPE_CHECKING:
    from pcsr.runtime.upscaler import Result, Upscaler


@dataclass(frozen=True)
class Sample:
    """What one turn of a case took. host_ms: wall time of a call, array to array. stage_ms: of the
    call that took staged_ms as a whole. The others are None on the CPU, see `Case`. pixels: per
    upsampler, heaviest first.
    """

    host_ms: float
    stage_ms: Mapping[str, float]
    staged_ms: float
    pixels: tuple[int, ...] = ()
    device_ms: float | None = None
    h2d_ms: float | None = None
    d2h_ms: float | None = None
    enqueue_ms: float | None = None


class Caller(Protocol):
    """An opened bundle. least_warm_ups: calls of a new shape until it is at its pace."""

    upscaler: "Upscaler"
    least_warm_ups: int

    def first(self, spec: Spec) -> FirstUse:
        """The first call of a case."""

    def call(self, spec: Spec) -> tuple[float, "Result"]:
        """Milliseconds from array to array, and the result."""

    def traced(self, spec: Spec) -> None:
        """A call whose spans are recorded, by who asks for that."""

    def measure(self, spec: Spec) -> Sample:
        """One turn."""


class HostCaller:
    """On the CPU, where a call returns when it is done."""

    least_warm_ups = 2

    def __init__(self, engine: Engine) -> None:
        self.upscaler = open_upscaler(engine)

    def first(self, spec: Spec) -> FirstUse:
        return first_use(spec)

    def call(self, spec: Spec) -> tuple[float, "Result"]:
        return timed_call(self.upscaler, spec)

    def traced(self, spec: Spec) -> None:
        timed_call(self.upscaler, spec)

    def measure(self, spec: Spec) -> Sample:
        wall_ms, result = timed_call(self.upscaler, spec)
        stats = result.stats
        return Sample(wall_ms, dict(stats.stage_ms), wall_ms, stats.pixels_per_upsampler)


def open_caller(engine: Engine, shapes: int) -> Caller:
    """shapes: how many the engine will meet.

    Raises:
        BundleError, BackendError, EngineError: as `Upscaler`.
    """
    if engine.device == "cpu":
        return HostCaller(engine)
    from .device_callers import DeviceCaller

    return DeviceCaller.opened(engine, shapes)


def open_upscaler(engine: Engine, cuda_graphs: bool = True) -> "Upscaler":
    """The bundle of an engine, opened."""
    from pcsr.runtime.upscaler import Upscaler

    return Upscaler(
        engine.bundle,
        engine.device,
        engine.backend,
        engine.precision,
        engine.threads,
        passes=engine.passes,
        cuda_graphs=cuda_graphs,
        may_build=engine.may_build,
    )


def timed_call(upscaler: "Upscaler", spec: Spec) -> tuple[float, Any]:
    """Milliseconds of wall time, and the result."""
    start = perf_counter()
    result = upscaler(spec.picture.pixels, **spec.options)
    return 1000 * (perf_counter() - start), result
