"""How long one call takes: on a GPU by its own events, on the CPU by the wall clock."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import torch

SLEEP_HZ = 2.0e9  # cycles per second of torch.cuda._sleep, about
LONGEST_HOLD_MS = 20.0


@dataclass(frozen=True)
class Lap:
    """device_ms: of the work on the device. enqueue_ms: until the call returned."""

    device_ms: float
    enqueue_ms: float


class Clock(Protocol):
    """Times calls on one device."""

    name: str

    def lap(self, call: Callable[[], Any], hold_ms: float) -> Lap:
        """One call. hold_ms: how long the host needs to queue it, about."""

    def wait(self) -> None:
        """Until the device has done all."""


class EventClock:
    """CUDA events before and behind the call on the caller's stream. The stream is held while the
    host queues the call, so that they enclose the device's work and not its waiting for the host.
    """

    name = "CUDA events"

    def lap(self, call: Callable[[], Any], hold_ms: float) -> Lap:
        start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        stop = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        cycles = int(min(hold_ms, LONGEST_HOLD_MS) / 1000 * SLEEP_HZ)
        torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
        start.record()
        before = perf_counter()
        kept = call()
        enqueue_ms = 1000 * (perf_counter() - before)
        stop.record()
        stop.synchronize()
        del kept
        return Lap(start.elapsed_time(stop), enqueue_ms)

    def wait(self) -> None:
        torch.cuda.synchronize()


class WallClock:
    """For the CPU, where a call returns when it is done."""

    name = "wall clock"

    def lap(self, call: Callable[[], Any], hold_ms: float) -> Lap:
        before = perf_counter()
        call()
        wall_ms = 1000 * (perf_counter() - before)
        return Lap(wall_ms, wall_ms)

    def wait(self) -> None:
        """Nothing is queued."""


def current(device: torch.device) -> AbstractContextManager[Any]:
    """Makes it the current device: events and streams are those of that one."""
    if device.type != "cuda":
        return nullcontext()
    found: AbstractContextManager[Any] = torch.cuda.device(device)
    return found


def make_clock(device: torch.device) -> Clock:
    """The clock of a device."""
    return EventClock() if device.type == "cuda" else WallClock()
