"""Counts that follow a frame are those of the frame alone, exactly."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr.runtime.cpu.passes import sigmoid
from pcsr.runtime.cpu.statistics import Statistics
from pcsr.runtime.cpu.workers import Workers
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import Rule
from pcsr.runtime.sequence.classified.counts import FrameCounts

Floats = NDArray[np.float32]
COST = np.array([0.68, 0.32], dtype=np.float32)
ROWS, WIDTH = 60, 50
CHUNKS = [slice(first, first + 10) for first in range(0, ROWS, 10)]
ADM = RoutingRequest(adaptive=True)
SHARE = RoutingRequest(heavy_ratio=0.3)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    made = Workers(3)
    yield made
    made.close()


class _Frame:
    """Difficulties, or their logits, that change; counts that follow."""

    def __init__(self, workers: Workers, request: RoutingRequest, logits: Floats) -> None:
        self.request, self.logits = request, logits.copy()
        self.counts, self.counted = FrameCounts(workers, CHUNKS), list[int]()

    @property
    def by_logit(self) -> bool:
        return self.request.heavy_ratio is not None

    def keys(self, rows: slice) -> Floats:
        self.counted.append(rows.start)
        return self._keys(self.logits[rows])

    def _keys(self, logits: Floats) -> Floats:
        return logits.reshape(-1) if self.by_logit else sigmoid(logits.reshape(-1))

    def change(self, rows: slice, logits: Floats) -> None:
        before = self._keys(self.logits[rows].copy())
        self.logits[rows] = logits
        self.counts.move(before, self._keys(self.logits[rows]), self.by_logit)

    def rule(self) -> Rule:
        self.counted.clear()
        return self.counts.rule(self.request, COST, ROWS * WIDTH, self.keys)

    def alone(self) -> Rule:
        found = _statistics(self.request, [self.logits], 0.0, 1.0)
        histogram = found.histogram
        if not self.by_logit and histogram.is_coarse:
            found = _statistics(self.request, [self.logits], histogram.low, histogram.high)
        return found.rule(COST)


def _statistics(
    request: RoutingRequest, parts: Sequence[Floats], first: float, last: float
) -> Statistics:
    found = Statistics(request, first, last)
    for part in parts:
        found.add(part.reshape(-1, 1))
    return found


def _same(found: Rule, expected: Rule) -> None:
    assert (found.bounds, found.cut, found.threshold) == (
        expected.bounds,
        expected.cut,
        expected.threshold,
    )


def _values(seed: int, spread: float, middle: float = 0.0, rows: int = ROWS) -> Floats:
    random = np.random.default_rng(seed)
    return random.normal(middle, spread, (rows, WIDTH)).astype(np.float32)


KINDS: dict[str, Callable[[int, int], Floats]] = {
    "wide": lambda seed, rows: _values(seed, 4, -3, rows),
    "all tiny": lambda seed, rows: _values(seed, 3, -30, rows),
    "narrow": lambda seed, rows: _values(seed, 0.01, 0.3, rows),
    "levels": lambda seed, rows: np.round(_values(seed, 1, 0, rows)),
    "flat": lambda seed, rows: np.full((rows, WIDTH), 0.5, np.float32),
}


@pytest.mark.parametrize("request_", [ADM, SHARE], ids=["ADM", "share"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_rules_are_those_of_the_frame_alone(
    workers: Workers, kind: Callable[[int, int], Floats], request_: RoutingRequest
) -> None:
    frame = _Frame(workers, request_, kind(0, ROWS))
    _same(frame.rule(), frame.alone())
    for step in range(1, 12):
        height = 1 + step % 7
        for first in (3 * step % 50, 7 * step % 50):
            frame.change(slice(first, first + height), kind(step, height))
        _same(frame.rule(), frame.alone())
    frame.change(slice(0, ROWS), _values(99, 4))
    _same(frame.rule(), frame.alone())
    frame.change(slice(0, ROWS), kind(100, ROWS))
    _same(frame.rule(), frame.alone())


def test_nothing_is_counted_anew_while_the_range_stays(workers: Workers) -> None:
    logits = _values(0, 4)
    logits[:2] = np.where(np.arange(WIDTH) % 2, -20, 20)
    frame = _Frame(workers, ADM, logits)
    frame.rule()
    assert len(frame.counted) == 2 * len(CHUNKS), "the histogram and the range"
    frame.change(slice(20, 25), _values(1, 1, 0, 5))
    _same(frame.rule(), frame.alone())
    assert not frame.counted
    frame.change(slice(0, 2), _values(2, 1, 0, 2))
    _same(frame.rule(), frame.alone())
    assert len(frame.counted) == len(CHUNKS), "the ends are gone: the range"


def test_a_share_counts_its_upper_halves_once(workers: Workers) -> None:
    frame = _Frame(workers, SHARE, np.round(_values(0, 1)))
    frame.rule()
    assert len(frame.counted) == 2 * len(CHUNKS)
    frame.change(slice(20, 21), np.round(_values(1, 1, 0, 1)))
    _same(frame.rule(), frame.alone())
    assert not frame.counted, "the cut is the same"


def test_what_a_rule_does_not_need_is_forgotten(workers: Workers) -> None:
    frame = _Frame(workers, ADM, _values(0, 0.01))
    assert not frame.counts
    frame.rule()
    assert frame.counts
    frame.request = SHARE
    frame.change(slice(0, 5), _values(1, 0.01, 0, 5))
    _same(frame.rule(), frame.alone())
    frame.change(slice(0, 5), _values(2, 0.01, 0, 5))
    frame.request = ADM
    _same(frame.rule(), frame.alone())
    frame.counts.clear()
    assert not frame.counts


def test_counts_of_several_threads_at_once(workers: Workers) -> None:
    frame, after = _Frame(workers, ADM, _values(0, 4)), _values(1, 4)
    frame.rule()
    workers.over_ranges(CHUNKS, lambda rows: frame.change(rows, after[rows]))
    _same(frame.rule(), frame.alone())
    assert np.array_equal(frame.logits, after)
