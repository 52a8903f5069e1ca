"""Wall time per stage of one call, and the spans of time that it is made of."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import current_thread
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DEVICE_LANE = "device"


class Span(NamedTuple):
    """Time that one thread, or the device, spent in a stage. Seconds are those of `perf_counter`.

    lane: the thread's name, or `DEVICE_LANE`. thread_id: 0 for the device.
    """

    name: str
    lane: str
    thread_id: int
    start_s: float
    stop_s: float


_recorded: ContextVar[list[Span] | None] = ContextVar("recorded_spans", default=None)


@contextmanager
def recorded_spans() -> Iterator[list[Span]]:
    """Collects the spans of all calls that this thread makes in the body, of their worker threads
    too, each in the order of its stages' ends. The device's appear once the stats of a call are
    read.
    """
    spans: list[Span] = []
    token = _recorded.set(spans)
    try:
        yield spans
    finally:
        _recorded.reset(token)


def recorder() -> list[Span] | None:
    """Where the calls of this thread leave their spans; None: nowhere."""
    return _recorded.get()


class Stopwatch:
    """Collects stage times in milliseconds, in the order of their first start."""

    def __init__(self) -> None:
        self._start = perf_counter()
        self._recorder = recorder()
        self.stage_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the body to stage `name`."""
        start = perf_counter()
        self.stage_ms.setdefault(name, 0.0)
        try:
            yield
        finally:
            stop = perf_counter()
            self.stage_ms[name] += 1000 * (stop - start)
            if self._recorder is not None:
                self._recorder.append(_span(name, start, stop))

    host_stage = stage

    @contextmanager
    def shared(self) -> Iterator["Lap"]:
        """Divides the wall time of the body, in which several threads work, between their stages:
        at any time the threads at work get equal parts of it, and those that wait get none. While
        all wait the time belongs to the stage that begins next, at the end to the last one.
        """
        lap = Lap()
        start = perf_counter()
        try:
            yield lap
        finally:
            for name, seconds in _divided(lap.spans, start, perf_counter()).items():
                self.stage_ms[name] = self.stage_ms.get(name, 0.0) + 1000 * seconds
            if self._recorder is not None:
                self._recorder += lap.spans

    @property
    def total_ms(self) -> float:
        """Since it was made."""
        return 1000 * (perf_counter() - self._start)


class Lap:
    """Spans of stages in several threads."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the body, in this thread, to stage `name`."""
        start = perf_counter()
        try:
            yield
        finally:
            self.spans.append(_span(name, start, perf_counter()))

    @contextmanager
    def stages(self, rest: str, names: Sequence[str]) -> Iterator[NDArray[np.float64]]:
        """For a body that measures its own stages: it fills in the seconds of each name, and what
        is left of its time belongs to stage `rest`. Their spans lie one behind the other.
        """
        seconds = np.zeros(len(names))
        start = perf_counter()
        try:
            yield seconds
        finally:
            stop = perf_counter()
            edges = np.append(stop - np.cumsum(seconds[::-1])[::-1], stop).clip(start).tolist()
            for name, first, last in zip((rest, *names), (start, *edges), edges, strict=False):
                self.spans.append(_span(name, first, last))


def _span(name: str, start: float, stop: float) -> Span:
    thread = current_thread()
    return Span(name, thread.name, thread.ident or 0, start, stop)


def _divided(spans: Sequence[Span], start: float, stop: float) -> dict[str, float]:
    """Seconds by stage, in the order of their first start, as `Stopwatch.shared` says."""
    spans = sorted(spans, key=lambda span: span.start_s)
    if not spans:
        return {}
    starts, stops = np.array([(span.start_s, span.stop_s) for span in spans]).T
    edges, share = _share_clock(starts, stops)
    own = share[np.searchsorted(edges, stops)] - share[np.searchsorted(edges, starts)]
    # Where the threads at work end before `reached`, all wait until the next span begins.
    reached = np.maximum.accumulate(np.append(start, stops))
    own += np.maximum(0, starts - reached[:-1])
    own[np.argmax(stops)] += stop - reached[-1]
    found: dict[str, float] = {}
    for span, seconds in zip(spans, own.tolist(), strict=True):
        found[span.name] = found.get(span.name, 0.0) + seconds
    return found


def _share_clock(
    starts: NDArray[np.float64], stops: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times at which a span starts or stops, ascending, and what a clock shows then that runs at
    1 / n of the speed while n spans overlap.
    """
    times = np.concatenate([starts, stops])
    order = np.argsort(times, kind="stable")
    edges = times[order]
    at_work = np.cumsum(np.where(order < len(starts), 1, -1))
    elapsed = np.diff(edges) / np.maximum(1, at_work[:-1])
    return edges, np.append(0.0, np.cumsum(elapsed))
