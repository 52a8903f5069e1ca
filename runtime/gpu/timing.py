"""The time of each stage, from CUDA events on a GPU and by the wall clock on the CPU; an NVTX range
lies around each, for NVIDIA's profilers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

import torch

from pcsr.runtime.timing import DEVICE_LANE, Span, Stopwatch, recorder


class EventTimer:
    """Collects the device time of stages on the current stream, in the order of their first start.
    It queues two events per stage and waits for nothing until `stage_ms` is read.
    """

    def __init__(self) -> None:
        self._host = Stopwatch()
        self._recorder = recorder()
        self._queued: list[_Queued] = []
        self._queued_s = 0.0
        self._found: dict[str, float] | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the device time of what the body queues to stage `name`."""
        start, stop = _event(), _event()
        if not self._queued:
            self._queued_s = perf_counter()
        start.record()
        try:
            with nvtx_range(name):
                yield
        finally:
            stop.record()
            self._queued.append(_Queued(name, start, stop))

    @contextmanager
    def host_stage(self, name: str) -> Iterator[None]:
        """Adds the wall time of the body to stage `name`."""
        with nvtx_range(name), self._host.stage(name):
            yield

    @property
    def stage_ms(self) -> dict[str, float]:
        """Milliseconds by stage, the host's first; reading them waits for the last one."""
        if self._found is None:
            self._found = self._read()
        return self._found

    def _read(self) -> dict[str, float]:
        found = dict(self._host.stage_ms)
        for name, start, stop in self._queued:
            stop.synchronize()
            found[name] = found.get(name, 0.0) + start.elapsed_time(stop)
            if self._recorder is not None:
                since_first = self._queued[0].start.elapsed_time
                edges = (self._queued_s + since_first(event) / 1000 for event in (start, stop))
                self._recorder.append(Span(name, DEVICE_LANE, 0, *edges))
        return found

    @property
    def total_ms(self) -> float:
        """Milliseconds of wall time since the timer was made."""
        return self._host.total_ms


class _Queued(NamedTuple):
    name: str
    start: torch.cuda.Event
    stop: torch.cuda.Event


def _event() -> torch.cuda.Event:
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event


class DeviceSpan:
    """Measures the device time between two places of the current stream, without waiting for it."""

    def __init__(self) -> None:
        self._start, self._stop = _event(), _event()

    def start(self) -> None:
        """Begins the span."""
        self._start.record()

    def stop(self) -> None:
        """Ends the span."""
        self._stop.record()

    def ready(self) -> float | None:
        """Gives milliseconds; None until the device has come to the end."""
        is_there: bool = self._stop.query()  # type: ignore[no-untyped-call]
        return self._start.elapsed_time(self._stop) if is_there else None


class NoTimer:
    """Takes no time of stages; with `ranges` it marks them as NVTX ranges."""

    def __init__(self, ranges: bool = False) -> None:
        self._start = perf_counter()
        self._ranges = ranges
        self.stage_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Only runs the body."""
        if not self._ranges:
            yield
            return
        with nvtx_range(name):
            yield

    host_stage = stage

    @property
    def total_ms(self) -> float:
        """Milliseconds since the timer was made: those of queueing the work."""
        return 1000 * (perf_counter() - self._start)


Timer = Stopwatch | EventTimer | NoTimer
"""Collects stage times in milliseconds, in the order of their first start."""


def make_timer(device: torch.device, stays: bool) -> Timer:
    """Makes the timer of one call.

    Args:
        stays: whether the result stays on the device, so that nothing may wait for it: then stages
            are timed only while spans are recorded.
    """
    if device.type != "cuda":
        return Stopwatch()
    return NoTimer(ranges=True) if stays and recorder() is None else EventTimer()


@contextmanager
def nvtx_range(stage: str) -> Iterator[None]:
    """Marks what this thread does and queues in the body as `pcsr/<stage>`."""
    torch.cuda.nvtx.range_push(f"pcsr/{stage}")  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        torch.cuda.nvtx.range_pop()  # type: ignore[no-untyped-call]
