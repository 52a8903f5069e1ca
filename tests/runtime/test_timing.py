"""Stage times of one call, of one thread and of several."""

import threading
import time

import pytest

from pcsr.runtime import timing
from pcsr.runtime.timing import Stopwatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, set by the test."""
    now = [100.0]
    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])
    return now


def test_stages_add_up_in_the_order_of_their_first_start(clock: list[float]) -> None:
    watch = Stopwatch()
    for name, seconds in (("b", 1), ("a", 2), ("b", 4)):
        with watch.stage(name):
            clock[0] += seconds
    assert watch.stage_ms == {"b": 5000, "a": 2000}
    assert list(watch.stage_ms) == ["b", "a"]
    assert watch.total_ms == 7000


def test_a_stage_that_fails_is_timed_too(clock: list[float]) -> None:
    watch = Stopwatch()

    def fail(seconds: float) -> None:
        clock[0] += seconds
        raise KeyError

    with pytest.raises(KeyError), watch.stage("a"):
        fail(1)
    with pytest.raises(KeyError), watch.shared() as lap, lap.stage("b"):
        fail(2)
    assert watch.stage_ms == {"a": 1000, "b": 2000}


def test_wall_time_is_divided_in_proportion_to_the_threads_time(clock: list[float]) -> None:
    """Two threads of 6 s in all, in 4 s."""
    watch = Stopwatch()
    with watch.shared() as lap:
        with lap.stage("a"):
            clock[0] += 1.5
        with lap.stage("b"):
            clock[0] += 0.5
        lap.seconds["a"] *= 3  # another thread beside it
        lap.seconds["b"] += 1
        clock[0] += 2
    assert sum(watch.stage_ms.values()) == pytest.approx(4000)
    assert watch.stage_ms["a"] == pytest.approx(4000 * 4.5 / 6)


def test_nothing_worked_takes_no_time(clock: list[float]) -> None:
    watch = Stopwatch()
    with watch.shared() as lap:
        clock[0] += 1
    assert watch.stage_ms == {}
    with watch.shared() as lap, lap.stage("a"):
        pass
    assert watch.stage_ms == {"a": 0}


def test_stages_of_several_threads_add_up_to_the_wall_time() -> None:
    watch = Stopwatch()

    def work() -> None:
        for _ in range(20):
            with lap.stage("a"):
                time.sleep(0.0005)
            with lap.stage("b"):
                time.sleep(0.0001)

    start = time.perf_counter()
    with watch.shared() as lap:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    wall_ms = 1000 * (time.perf_counter() - start)
    assert sum(watch.stage_ms.values()) <= wall_ms
    assert sum(watch.stage_ms.values()) == pytest.approx(wall_ms, rel=0.05, abs=1)
    assert watch.stage_ms["a"] > watch.stage_ms["b"] > 0


def test_a_shared_lap_continues_earlier_stages(clock: list[float]) -> None:
    watch = Stopwatch()
    with watch.stage("a"):
        clock[0] += 1
    with watch.shared() as lap, lap.stage("a"):
        clock[0] += 1
    assert watch.stage_ms == {"a": 2000}
