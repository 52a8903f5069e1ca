"""Wall time per stage of one call, and the spans of time that it is made of."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


def summed_stages(times: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Adds up the milliseconds of each stage, in the order in which the stages are met."""
    found: dict[str, float] = {}
    for stage_ms in times:
        for name, took_ms in stage_ms.items():
            found[name] = found.get(name, 0.0) + took_ms
    return found


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
        self._bodies: list[Span | _Body] = []
        self._spans = 0
        self._seconds: dict[str, float] = {}

    @property
    def stage_ms(self) -> dict[str, float]:
        """Milliseconds by stage so far, which are reckoned now: read `total_ms` first."""
        return {name: 1000 * seconds for name, seconds in self._reckoned().items()}

    def _reckoned(self) -> dict[str, float]:
        found = dict(self._seconds)
        for body in self._bodies:
            if isinstance(body, Span):
                found[body.name] = found.get(body.name, 0.0) + body.stop_s - body.start_s
                continue
            for name, seconds in _divided(*body).items():
                found[name] = found.get(name, 0.0) + seconds
        return found

    def check(self) -> None:
        """Raises CancelledError where the call is cancelled."""
        if self.cancellation is not None:
            self.cancellation.check()

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Adds the time of the body to stage `name`."""
        return _Stage(name, self.cancellation, self._add_one, self._recorder is not None)

    host_stage = stage

    def shared(self) -> "ThreadSpans":
        """Divides the wall time of the body, in which several threads work, between their stages:
        at any time the threads at work get equal parts of it, and those that wait get none. While
        all wait the time belongs to the stage that begins next, at the end to the last one.
        """
        return ThreadSpans(self.cancellation, self._add, self._recorder is not None)

    def _add_one(self, span: Span) -> None:
        self._bodies.append(span)
        if self._recorder is not None:
            self._recorder.append(span)
        self._count(1)

    def _add(self, spans: list[Span], start: float) -> None:
        self._bodies.append(_Body(spans, start, perf_counter()))
        if self._recorder is not None:
            self._recorder += spans
        self._count(len(spans))

    def _count(self, spans: int) -> None:
        self._spans += spans
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


class ThreadSpans(AbstractContextManager["ThreadSpans"]):
    """Collects the spans of stages in several threads, while the body runs.

    add: takes the spans, and when the body began. is_recorded: whether anybody asks which threads
    they are of.
    """

    def __init__(
        self,
        cancellation: Cancellation | None,
        add: Callable[[list[Span], float], None],
        is_recorded: bool,
    ) -> None:
        self.spans: list[Span] = []
        self._cancellation, self._to, self._is_recorded = cancellation, add, is_recorded

    def __enter__(self) -> "ThreadSpans":
        self._start = perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._to(self.spans, self._start)

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Adds the time of the body, in this thread, to stage `name`."""
        return _Stage(name, self._cancellation, self.spans.append, self._is_recorded)

    def stages(
        self, names: Sequence[str], rest: str
    ) -> AbstractContextManager[NDArray[np.float64]]:
        """Lets the body measure its own stages: it adds the seconds of each name, and what is left
        of its time belongs to `rest`, one of them. Their spans lie one behind the other.
        """
        return _Stages(names, rest, self._cancellation, self.spans.append, self._is_recorded)


class _Stage(AbstractContextManager[None]):
    """Hands a span of the body's time to `add`. A generator would take twice as long."""

    __slots__ = ("_add", "_cancellation", "_is_recorded", "_name", "_start")

    def __init__(
        self,
        name: str,
        cancellation: Cancellation | None,
        add: Callable[[Span], None],
        is_recorded: bool,
    ) -> None:
        self._name, self._cancellation, self._add = name, cancellation, add
        self._is_recorded = is_recorded

    def __enter__(self) -> None:
        if self._cancellation is not None:
            self._cancellation.check()
        self._start = perf_counter()

    def __exit__(self, *_: object) -> None:
        stop = perf_counter()
        self._add(Span(self._name, *_here(self._is_recorded), self._start, stop))


class _Stages(AbstractContextManager[NDArray[np.float64]]):
    """Hands the spans of several stages to `add`, see `ThreadSpans.stages`."""

    __slots__ = ("_add", "_cancellation", "_is_recorded", "_names", "_rest", "_seconds", "_start")

    def __init__(
        self,
        names: Sequence[str],
        rest: str,
        cancellation: Cancellation | None,
        add: Callable[[Span], None],
        is_recorded: bool,
    ) -> None:
        self._names, self._rest, self._cancellation = names, rest, cancellation
        self._add, self._is_recorded = add, is_recorded

    def __enter__(self) -> NDArray[np.float64]:
        if self._cancellation is not None:
            self._cancellation.check()
        self._seconds = np.zeros(len(self._names))
        self._start = perf_counter()
        return self._seconds

    def __exit__(self, *_: object) -> None:
        stop, at, each = perf_counter(), self._start, self._seconds.tolist()
        each[self._names.index(self._rest)] = stop - at - sum(each)
        thread = _here(self._is_recorded)
        for index, name in enumerate(self._names):
            until = min(stop, max(at, stop - sum(each[index + 1 :])))
            self._add(Span(name, *thread, at, until))
            at = until


def _here(is_asked: bool) -> tuple[str, int]:
    """Gives this thread's name and id."""
    if not is_asked:
        return "", 0
    thread = current_thread()
    return thread.name, thread.ident or 0


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
