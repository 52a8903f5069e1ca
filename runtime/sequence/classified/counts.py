"""What the rule of a frame is made of: counts of all its pixels, which follow its changes."""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock

from pcsr.runtime.cpu.composing.again import move_in_histogram
from pcsr.runtime.cpu.passes import add_to_histogram
from pcsr.runtime.cpu.workers import Workers
from pcsr.runtime.geometry.grid import Floats
from pcsr.runtime.routing.adaptive import Histogram
from pcsr.runtime.routing.merging import Counted, Counts, merged_rule
from pcsr.runtime.routing.ranking import RankCounts
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import Rule

Keys = Callable[[slice], Floats]
"""Gives the difficulties or the logits of difficulty [N], contiguous, of some output rows."""
Range = tuple[float, float]


class FrameCounts:
    """Counts of one frame after the other: those that the rule of the last one needed are kept, and
    what changes is moved in them. All counts are exact, so that they are those of the frame alone.

    chunks: ranges of output rows, all of them.
    """

    def __init__(self, workers: Workers, chunks: Sequence[slice]) -> None:
        self._workers, self._chunks = workers, chunks
        self._kept: dict[Counted, _Pool] = {}
        self._range: Range | None = None
        self._lock = Lock()

    def __bool__(self) -> bool:
        """Tells whether something is kept."""
        return bool(self._kept)

    def clear(self) -> None:
        """Forgets the frame."""
        self._kept, self._range = {}, None

    def move(self, before: Floats, after: Floats, logits: bool) -> None:
        """Takes the difficulties [N] of some pixels, or with `logits` their logits, for those that
        the same pixels had before. Several threads may call it at once.
        """
        for counted, pool in self._kept.items():
            if counted.logits == logits:
                with pool.lent() as counts:
                    _move(counts, before, after)
        if not logits:
            with self._lock:
                self._range = _moved_range(self._range, before, after)

    def rule(self, request: RoutingRequest, cost: Floats, pixels: int, keys: Keys) -> Rule:
        """Makes the rule of a frame of so many output pixels, as of the frame alone."""
        used = set[Counted]()

        def run(counted: Counted) -> Counts:
            used.add(counted)
            if counted not in self._kept:
                self._kept[counted] = self._counted(counted, keys)
            total = self._kept[counted].sum()
            if isinstance(total, RankCounts):
                return total
            low, high = self._range = self._range or self._range_of(keys)
            return replace(total, low=low, high=high)

        rule = merged_rule(cost, request, pixels, run)
        self._kept = {counted: pool for counted, pool in self._kept.items() if counted in used}
        if all(counted.logits for counted in used):
            self._range = None  # which follows difficulties alone
        return rule

    def _counted(self, counted: Counted, keys: Keys) -> "_Pool":
        pool = _Pool(counted)

        def work(rows: slice) -> None:
            with pool.lent() as counts:
                _add(counts, keys(rows))

        self._workers.over_ranges(self._chunks, work)
        return pool

    def _range_of(self, keys: Keys) -> Range:
        ends: list[float] = []

        def work(rows: slice) -> None:
            values = keys(rows)
            ends.extend((float(values.min()), float(values.max())))

        self._workers.over_ranges(self._chunks, work)
        return min(ends), max(ends)


class _Pool:
    """Counts of one kind: each thread adds to some that no other one has."""

    def __init__(self, counted: Counted) -> None:
        self._counted, self._idle = counted, list[Counts]()

    @contextmanager
    def lent(self) -> Iterator[Counts]:
        """Lends counts."""
        try:
            counts = self._idle.pop()
        except IndexError:
            counts = self._empty()
        yield counts
        self._idle.append(counts)

    def sum(self) -> Counts:
        """Gives what all of them add up to."""
        total: Counts = functools.reduce(operator.add, self._idle) if self._idle else self._empty()
        self._idle = [total]
        return total

    def _empty(self) -> Counts:
        of = self._counted
        return RankCounts(of.upper) if of.logits else Histogram(of.first, of.last)


def _add(counts: Counts, keys: Floats) -> None:
    if isinstance(counts, RankCounts):
        counts.add(keys)
    else:
        add_to_histogram(keys, counts.table, counts.first, counts.last)


def _move(counts: Counts, before: Floats, after: Floats) -> None:
    if isinstance(counts, RankCounts):
        counts.remove(before)
        counts.add(after)
    else:
        move_in_histogram(before, after, counts.table, counts.first, counts.last)


def _moved_range(known: Range | None, before: Floats, after: Floats) -> Range | None:
    """Gives the least and the largest value of all; None where an end may be gone with `before`."""
    if known is None:
        return None
    low, high = min(known[0], float(after.min())), max(known[1], float(after.max()))
    loses_low = float(before.min()) <= known[0] < float(after.min())
    loses_high = float(before.max()) >= known[1] > float(after.max())
    return None if loses_low or loses_high else (low, high)
