"""Time per stage: from CUDA events on a GPU, by the wall clock on the CPU."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from typing import Protocol

import torch

from pcsr.runtime.timing import Stopwatch


class Timer(Protocol):
    """Collects stage times in milliseconds, in the order of their first start."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Adds the time of the body to stage `name`."""

    @property
    def stage_ms(self) -> Mapping[str, float]: ...

    @property
    def total_ms(self) -> float:
        """Wall time since it was made."""


def make_timer(device: torch.device, stays: bool) -> Timer:
    """stays: whether the result stays on the device, so that nothing may wait for it."""
    if stays:
        return NoTimer()
    return EventTimer() if device.type == "cuda" else Stopwatch()


class EventTimer:
    """Collects the device time of stages on the current stream, in the order of their first start.
    Queues two events per stage and waits for nothing until `stage_ms` is read.
    """

    def __init__(self) -> None:
        self._start = perf_counter()
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the device time of what the body queues to stage `name`."""
        start = _event()
        stop = _event()
        start.record()
        try:
            yield
        finally:
            stop.record()
            self._events.append((name, start, stop))

    @property
    def stage_ms(self) -> dict[str, float]:
        """Milliseconds by stage; waits for the last one."""
        found: dict[str, float] = {}
        for name, start, stop in self._events:
            stop.synchronize()
            found[name] = found.get(name, 0.0) + start.elapsed_time(stop)
        return found

    @property
    def total_ms(self) -> float:
        """Wall time since it was made."""
        return 1000 * (perf_counter() - self._start)


def _event() -> torch.cuda.Event:
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event


class DeviceSpan:
    """The device time between two places of the current stream, asked for without waiting."""

    def __init__(self) -> None:
        self._start, self._stop = _event(), _event()

    def start(self) -> None:
        """Here it begins."""
        self._start.record()

    def stop(self) -> None:
        """Here it ends."""
        self._stop.record()

    def ready(self) -> float | None:
        """Milliseconds; None until the device has come that far."""
        is_there: bool = self._stop.query()  # type: ignore[no-untyped-call]
        return self._start.elapsed_time(self._stop) if is_there else None


class NoTimer:
    """Takes no time of stages."""

    def __init__(self) -> None:
        self._start = perf_counter()
        self.stage_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Only runs the body."""
        yield

    @property
    def total_ms(self) -> float:
        """Wall time since it was made: of queueing the work."""
        return 1000 * (perf_counter() - self._start)
