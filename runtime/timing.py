"""Wall time per stage of one call, and the spans of time that it is made of."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from operator import itemgetter
from threading import current_thread
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .process.cancellation import Cancellation

DEVICE_LANE = "device"
MOST_SPANS = 256  # that wait to be divided: a streamed image may have any number


class Span(NamedTuple):
    """Time that a thread, or the device, spent in a stage. Seconds are those of `perf_counter`."""

    name: str
    lane: str
    """The thread's name, or `DEVICE_LANE`."""
    thread_id: int
    """0 for the device."""
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
    """Returns the list where the calls of this thread leave their spans; None where nobody asks."""
    return _recorded.get()


class Stopwatch:
    """Collects stage times in milliseconds, in the order of their first start. Where the call is
    cancelled, the next stage does not begin: it raises CancelledError.
    """

    def __init__(self, cancellation: Cancellation | None = None) -> None:
        self.cancellation = cancellation
        self._start = perf_counter()
        self._recorder = recorder()
        self._bodies: list[_Body] = []
        self._spans = 0
        self._seconds: dict[str, float] = {}

    @property
    def stage_ms(self) -> dict[str, float]:
        """Milliseconds by stage so far, which are reckoned now: read `total_ms` first."""
        return {name: 1000 * seconds for name, seconds in self._reckoned().items()}

    def _reckoned(self) -> dict[str, float]:
        found = dict(self._seconds)
        for body in self._bodies:
            for name, seconds in _divided(*body).items():
                found[name] = found.get(name, 0.0) + seconds
        return found

    def check(self) -> None:
        """Raises CancelledError where the call is cancelled."""
        if self.cancellation is not None:
            self.cancellation.check()

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Adds the time of the body to stage `name`."""
        return _Stage(name, self.check, self._add_one)

    host_stage = stage

    def _add_one(self, span: Span) -> None:
        self._add([span], span.start_s)

    @contextmanager
    def shared(self) -> Iterator["ThreadSpans"]:
        """Divides the wall time of the body, in which several threads work, between their stages:
        at any time the threads at work get equal parts of it, and those that wait get none. While
        all wait the time belongs to the stage that begins next, at the end to the last one.
        """
        threads = ThreadSpans(self.check)
        start = perf_counter()
        try:
            yield threads
        finally:
            self._add(threads.spans, start)

    def _add(self, spans: list[Span], start: float) -> None:
        self._bodies.append(_Body(spans, start, perf_counter()))
        self._spans += len(spans)
        if self._recorder is not None:
            self._recorder += spans
        if self._spans > MOST_SPANS:
            self._seconds, self._bodies, self._spans = self._reckoned(), [], 0

    @property
    def total_ms(self) -> float:
        """Milliseconds since this stopwatch was made."""
        return 1000 * (perf_counter() - self._start)


class _Body(NamedTuple):
    spans: list[Span]
    start_s: float
    stop_s: float


class ThreadSpans:
    """Collects the spans of stages in several threads."""

    def __init__(self, check: Callable[[], None]) -> None:
        self.spans: list[Span] = []
        self._check = check

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Adds the time of the body, in this thread, to stage `name`."""
        return _Stage(name, self._check, self.spans.append)

    @contextmanager
    def stages(self, rest: str, names: Sequence[str]) -> Iterator[NDArray[np.float64]]:
        """Lets the body measure its own stages: it fills in the seconds of each name, and what is
        left of its time belongs to stage `rest`. Their spans lie one behind the other.
        """
        self._check()
        seconds = np.zeros(len(names))
        start = perf_counter()
        try:
            yield seconds
        finally:
            stop = perf_counter()
            later, at, thread = seconds.tolist(), start, current_thread()
            for name in (rest, *names):
                until = max(start, stop - sum(later))
                self.spans.append(Span(name, thread.name, thread.ident or 0, at, until))
                at, later = until, later[1:]


class _Stage(AbstractContextManager[None]):
    """Hands a span of the body's time to `add`. A generator would take twice as long."""

    __slots__ = ("_add", "_check", "_name", "_start")

    def __init__(self, name: str, check: Callable[[], None], add: Callable[[Span], None]) -> None:
        self._name, self._check, self._add = name, check, add

    def __enter__(self) -> None:
        self._check()
        self._start = perf_counter()

    def __exit__(self, *_: object) -> None:
        self._add(_span(self._name, self._start, perf_counter()))


def _span(name: str, start: float, stop: float) -> Span:
    thread = current_thread()
    return Span(name, thread.name, thread.ident or 0, start, stop)


def _divided(spans: Sequence[Span], start: float, stop: float) -> dict[str, float]:
    """Returns seconds by stage, in the order of their first start, as `Stopwatch.shared` says.

    Each span gets what a clock advances in its time that runs at 1 / n of the speed while n spans
    overlap.
    """
    if len(spans) == 1:
        return {spans[0].name: stop - start}
    starts = [(span.start_s, -1, span.name) for span in spans]
    stops = [(span.stop_s, 1, span.name) for span in spans]
    found: dict[str, float] = {}
    clock, at_work, at, name = 0.0, 0, start, ""
    for time, change, name in sorted(starts + stops, key=itemgetter(0, 1)):
        found.setdefault(name, 0.0)
        if at_work:
            clock += (time - at) / at_work
        else:
            found[name] += time - at
        found[name] += change * clock
        at_work, at = at_work - change, time
    if spans:
        found[name] += stop - at
    return found
