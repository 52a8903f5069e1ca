"""The time of each stage, from CUDA events on a GPU and by the wall clock on the CPU; an NVTX range
lies around each, for NVIDIA's profilers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from time import perf_counter

import torch

from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.timing import DEVICE_LANE, Span, Stopwatch, recorder


class EventTimer(Stopwatch):
    """Collects the device time of stages on the current stream, in the order of their first start.
    It queues two events per stage and waits for nothing until `stage_ms` is read.
    """

    def __init__(self, cancellation: Cancellation | None = None) -> None:
        super().__init__(cancellation)
        self._queued: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._queued_s = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the device time of what the body queues to stage `name`."""
        self.check()
        start, stop = _event(), _event()
        if not self._queued:
            self._queued_s = perf_counter()
        start.record()
        try:
            with torch.cuda.nvtx.range(f"pcsr/{name}"):
                yield
        finally:
            stop.record()
            self._queued.append((name, start, stop))

    @contextmanager
    def host_stage(self, name: str) -> Iterator[None]:
        with torch.cuda.nvtx.range(f"pcsr/{name}"), super().stage(name):
            yield

    @cached_property
    def stage_ms(self) -> dict[str, float]:
        """Milliseconds by stage, the host's first; reading them waits for the last one."""
        found = super().stage_ms
        for name, start, stop in self._queued:
            stop.synchronize()
            found[name] = found.get(name, 0.0) + start.elapsed_time(stop)
            if self._recorder is not None:
                since_first = self._queued[0][1].elapsed_time
                edges = (self._queued_s + since_first(event) / 1000 for event in (start, stop))
                self._recorder.append(Span(name, DEVICE_LANE, 0, *edges))
        return found


def _event() -> torch.cuda.Event:
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event


class DeviceSpan:
    """The device time between two places of the current stream, where `start` and `stop` are
    recorded; nothing waits for them.
    """

    def __init__(self) -> None:
        self.start, self.stop = _event(), _event()

    def ready(self) -> float | None:
        """Gives milliseconds; None until the device has come to the end."""
        is_there: bool = self.stop.query()  # type: ignore[no-untyped-call]
        return self.start.elapsed_time(self.stop) if is_there else None


class NoTimer(Stopwatch):
    """Takes no time of stages, but marks them as NVTX ranges; `total_ms` is that of queueing."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.check()
        with torch.cuda.nvtx.range(f"pcsr/{name}"):
            yield

    host_stage = stage


def make_timer(
    device: torch.device, stays: bool, cancellation: Cancellation | None = None
) -> Stopwatch:
    """Makes the timer of one call.

    Args:
        stays: whether the result stays on the device, so that nothing may wait for it: then stages
            are timed only while spans are recorded.
    """
    if device.type != "cuda":
        return Stopwatch(cancellation)
    made = NoTimer if stays and recorder() is None else EventTimer
    return made(cancellation)
