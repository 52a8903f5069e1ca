"""Stage times of one call, of one thread and of several."""

import threading
import time

import pytest

from pcsr.runtime import timing
from pcsr.runtime.timing import Span, Stopwatch, recorded_spans


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


def span(name: str, start: float, stop: float) -> Span:
    return Span(name, "a thread", 1, 100 + start, 100 + stop)


SHARED: dict[str, tuple[list[tuple[str, float, float]], dict[str, float]]] = {
    "one after the other": ([("a", 0, 1), ("b", 1, 4)], {"a": 1, "b": 3}),
    "side by side": ([("a", 0, 4), ("b", 0, 4)], {"a": 2, "b": 2}),
    "one of two waits at the end": ([("a", 0, 2), ("b", 0, 4)], {"a": 1, "b": 3}),
    "three, one within another": (
        [("a", 0, 4), ("b", 1, 4), ("c", 2, 3)],
        {"a": 1 + 1 / 2 + 1 / 3 + 1 / 2, "b": 1 / 2 + 1 / 3 + 1 / 2, "c": 1 / 3},
    ),
    "all wait at first": ([("a", 1, 3), ("b", 2, 4)], {"a": 1 + 1 + 1 / 2, "b": 1 / 2 + 1}),
    "all wait between": ([("a", 0, 1), ("b", 2, 4)], {"a": 1, "b": 1 + 2}),
    "all wait at last": ([("b", 0, 1), ("a", 0, 2)], {"b": 1 / 2, "a": 1 / 2 + 1 + 2}),
    "one without length": ([("a", 0, 0), ("b", 0, 4)], {"a": 0, "b": 4}),
    "twice": ([("a", 0, 1), ("b", 1, 2), ("a", 2, 4)], {"a": 3, "b": 1}),
}


@pytest.mark.parametrize("case", SHARED)
def test_wall_time_is_divided_between_the_threads_at_work(case: str, clock: list[float]) -> None:
    """4 s of wall time."""
    spans, expected = SHARED[case]
    watch = Stopwatch()
    with watch.shared() as lap:
        lap.spans += [span(*given) for given in sorted(spans, key=lambda it: it[2])]
        clock[0] += 4
    assert watch.stage_ms == pytest.approx({name: 1000 * s for name, s in expected.items()})
    assert list(watch.stage_ms) == list(expected)


def test_what_one_thread_waits_for_takes_nothing_from_the_others(clock: list[float]) -> None:
    """Two threads do 4 s of work each; a wait of 10 s in one of them is all in `c`."""
    works = [span(name, start, start + 1) for start, name in enumerate("abab")]
    watch = Stopwatch()
    with watch.shared() as lap:
        lap.spans += works + works + [span("c", 4, 14)]
        clock[0] += 14
    assert watch.stage_ms == pytest.approx({"a": 2000, "b": 2000, "c": 10_000})


def test_a_body_tells_its_own_stages(clock: list[float]) -> None:
    with recorded_spans() as spans:
        watch = Stopwatch()
        with watch.shared() as lap, lap.stages(["a", "rest", "b", "c"], "rest") as seconds:
            clock[0] += 10
            seconds += [1, 0, 0, 5]
    assert watch.stage_ms == {"a": 1000, "rest": 4000, "b": 0, "c": 5000}
    laid_out = [(part.name, part.start_s, part.stop_s) for part in spans]
    assert laid_out == [("a", 100, 101), ("rest", 101, 105), ("b", 105, 105), ("c", 105, 110)]


def test_a_body_cannot_tell_more_than_its_time(clock: list[float]) -> None:
    watch = Stopwatch()
    with watch.shared() as lap, lap.stages(["rest", "a", "b"], "rest") as seconds:
        clock[0] += 2
        seconds += [0, 1, 1.5]
    assert watch.stage_ms == {"rest": 0, "a": 500, "b": 1500}


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


def test_spans_of_all_threads_are_recorded_while_asked_for() -> None:
    with recorded_spans() as spans:
        watch = Stopwatch()
        with watch.stage("a"):
            pass
        with watch.shared() as lap:

            def work() -> None:
                with lap.stage("b"):
                    time.sleep(0.001)

            thread = threading.Thread(target=work, name="beside")
            thread.start()
            thread.join()
    after = Stopwatch()
    with after.stage("c"):
        pass
    assert [(part.name, part.lane) for part in spans] == [("a", "MainThread"), ("b", "beside")]
    assert spans[0].thread_id == threading.get_ident() != spans[1].thread_id
    assert spans[0].stop_s <= spans[1].start_s < spans[1].stop_s - 0.0009


def test_other_threads_calls_are_not_recorded() -> None:
    def call() -> None:
        with Stopwatch().stage("a"):
            pass

    with recorded_spans() as spans:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert spans == []
