"""Whose turn it is, when a run ends, and what a series keeps."""

import time
import warnings
from collections.abc import Iterator
from time import perf_counter

from pcsr.runtime.profiler.measuring.calls import Measurement
from pcsr.runtime.profiler.measuring.rounds import LEAST_ROUNDS, LONGEST_REASON, Pace, Series, turns

NAMES = [f"{kind}{number}" for kind in "sl" for number in range(4)]


def orders(pace: Pace, names: list[str] = NAMES) -> list[list[str]]:
    """The names in the order of their turns, round by round."""
    found: dict[int, list[str]] = {}
    for name, number in turns(names, pace, shape=lambda name: name[0]):
        found.setdefault(number, []).append(name)
    assert list(found) == list(range(-pace.warm_ups, pace.rounds))
    return list(found.values())


def test_every_round_has_every_entry_once_and_shapes_together() -> None:
    found = orders(Pace(20))
    for order in found:
        assert sorted(order) == sorted(NAMES)
        assert len({name[0] for name in order[:4]}) == 1
    assert len(set(map(tuple, found))) > 10
    assert {order[0][0] for order in found} == {"s", "l"}
    assert found == orders(Pace(20))
    assert found != orders(Pace(20, seed=1))


def test_warm_ups_come_before_the_first_round() -> None:
    assert len(orders(Pace(2, warm_ups=3))) == 5


def test_rounds_go_on_until_the_time_is_up() -> None:
    assert len(list(turns(["a"], Pace(1, duration_s=0.05)))) > 100
    begun = [(number, elapsed) for _, number, elapsed in _told(Pace(1, 2, 0.02))]
    assert all(elapsed < 0.02 for _, elapsed in begun)
    assert {elapsed for number, elapsed in begun if number <= 0 and elapsed > 0.005} == set()


def _told(pace: Pace) -> Iterator[tuple[str, int, float]]:
    last: list[float] = []
    for name, number in turns(["a"], pace, begin=lambda number, elapsed_s: last.append(elapsed_s)):
        time.sleep(0.006)
        yield name, number, last[-1]


def test_past_the_deadline_only_the_least_rounds_are_made() -> None:
    late = Pace(9, stop_at=perf_counter() - 1)
    assert [number for _, number in turns(["a"], late)] == list(range(LEAST_ROUNDS))


def test_who_does_not_take_part_has_no_turn() -> None:
    def takes_part(name: str, number: int) -> bool:
        return name != "slow" or number in (0, 1)

    found = list(turns(["slow", "a"], Pace(3, warm_ups=1), takes_part=takes_part))
    assert [number for name, number in found if name == "slow"] == [0, 1]
    assert [number for name, number in found if name == "a"] == [-1, 0, 1, 2]


def test_what_is_left_is_reckoned_from_what_was() -> None:
    assert Pace(10).left_s(2, 3.0) == 12
    assert Pace(10, duration_s=60).left_s(2, 3.0) == 57
    assert Pace(1).left_s(2, 3.0) == 0


def test_an_error_and_warnings_are_kept_and_nothing_is_raised() -> None:
    def step() -> None:
        for _ in range(2):
            warnings.warn("a frame runs without a CUDA graph", RuntimeWarning, stacklevel=1)
        warnings.warn("soon gone", FutureWarning, stacklevel=1)
        raise ValueError("broken\nin two lines " + "x" * LONGEST_REASON)

    series = Series()
    series.attempt(step)
    assert series.notes == ["a frame runs without a CUDA graph"]
    assert series.error is not None
    assert series.error.startswith("ValueError: broken in two lines x")
    assert len(series.error) == LONGEST_REASON


def test_the_time_that_counts_is_the_device_s() -> None:
    series = Series({0: Measurement(5.0, device_ms=2.0), 2: Measurement(7.0), 3: Measurement()})
    assert series.times_ms == {0: 2.0, 2: 7.0}
    assert series.host_ms == [5.0, 7.0]
