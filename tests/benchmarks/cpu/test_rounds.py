"""Who runs when, what counts, and that one failure is one row's."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from benchmarks.contenders import Contender, Family, Implementation
from benchmarks.cpu import rounds
from benchmarks.cpu.rounds import Care, run_rounds
from benchmarks.image import Image
from benchmarks.series import AllSeries
from pcsr.runtime.profiler.measuring import calls
from pcsr.runtime.profiler.measuring.calls import Answer, Caller, CallOptions

from .made import IMAGE, caller, contender

Callers = Mapping[Family, Caller]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PAUSE_S", 0)


def run(
    contenders: list[Contender], callers: Callers, count: int, care: Care | None = None
) -> AllSeries:
    def opener(implementation: Implementation) -> Caller:
        return callers[implementation.family]

    return run_rounds(contenders, IMAGE, opener, count, care or Care(), lambda text: None)


def test_the_warm_up_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    ticks = iter(float(number) for number in range(99))
    monkeypatch.setattr(calls, "perf_counter", lambda: next(ticks))
    series = run([contender("a")], {"bicubic": caller(log=log)}, 3)["a"]
    assert series.times_ms == {0: 1000, 1: 1000, 2: 1000}
    assert [turn.stage_ms for turn in series.rounds.values()] == [{"network": 2.5}] * 3
    assert len(log) == 4


def test_what_is_said() -> None:
    said: list[str] = []
    everyone = [contender("a"), contender("slow")]
    care = Care(slow=["slow"])
    run_rounds(everyone, IMAGE, lambda one: caller(), 3, care, said.append)
    assert said == [
        "warm-up",
        "round 1 of 3, 2 contenders",
        "round 2 of 3, 2 contenders",
        "round 3 of 3, 1 contenders",
    ]


def test_all_run_once_a_round_in_an_order_that_changes_and_repeats() -> None:
    first, second = _orders(6), _orders(6)
    assert first == second
    assert all(sorted(order) == [0, 1, 2, 3, 4, 5] for order in first)
    assert len(set(map(tuple, first))) == 4


def _orders(count: int) -> list[list[float]]:
    """Which of the contenders was called when, in the warm-up and in three rounds."""
    seen: list[float] = []

    def note(image: Image, options: CallOptions) -> Answer:
        seen.append(options["number"])
        return Answer(image)

    everyone = [replace(contender(str(n)), options={"number": n}) for n in range(count)]
    run(everyone, {"bicubic": note}, 3)
    return [seen[start : start + count] for start in range(0, len(seen), count)]


def test_one_that_fails_says_why_and_the_others_go_on() -> None:
    log: list[str] = []
    callers: Callers = {
        "pcsr": caller(RuntimeError("cannot\nallocate"), log),
        "bicubic": caller(),
    }
    found = run([contender("bad", "pcsr"), contender("good")], callers, 2)
    assert found["bad"].error == "RuntimeError: cannot allocate"
    assert found["bad"].times_ms == {}
    assert len(log) == 1
    assert list(found["good"].times_ms) == [0, 1]


def test_a_slow_one_runs_fewer_rounds_without_warm_up() -> None:
    log: list[str] = []
    series = run([contender("a")], {"bicubic": caller(log=log)}, 5, Care(slow=["a"]))["a"]
    assert list(series.times_ms) == [0, 1]
    assert len(log) == 2


def test_a_released_caller_is_opened_and_warmed_up_for_every_time() -> None:
    opened: list[Family] = []
    log: list[str] = []

    def opener(implementation: Implementation) -> Callable[[Image, CallOptions], Answer]:
        opened.append(implementation.family)
        return caller(log=log)

    everyone = [contender("plain", "plain-session"), contender("bicubic")]
    care = Care(released=["plain-session"])
    run_rounds(everyone, IMAGE, opener, 2, care, lambda text: None)
    assert sorted(opened) == ["bicubic", "plain-session", "plain-session", "plain-session"]
    assert len(log) == 3 + 2 * 3


def test_images_are_kept_for_comparisons_only() -> None:
    everyone = [contender("a", rival="b"), contender("b"), contender("c")]
    found = run(everyone, {"bicubic": caller()}, 1)
    kept = {name: series.image is not None for name, series in found.items()}
    assert kept == {"a": True, "b": True, "c": False}
    assert all(series.details for series in found.values())
