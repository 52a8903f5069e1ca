"""Who runs when, what counts, and that one failure is one row's."""

from dataclasses import replace

import pytest

from benchmarks import rounds
from benchmarks.engines import Engine, Image, Output
from benchmarks.lineup import Contender, EngineName, Options
from benchmarks.rounds import Plan, Timing, run_rounds

from .made import IMAGE, contender, engine


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PAUSE_S", 0)


def run(
    contenders: list[Contender], engines: dict[EngineName, Engine], plan: Plan
) -> dict[str, Timing]:
    return run_rounds(contenders, IMAGE, engines.__getitem__, plan, lambda text: None)


def test_the_warm_up_does_not_count() -> None:
    log: list[str] = []
    timing = run([contender("a")], {"bicubic": engine(5.0, log=log)}, Plan(rounds=3))["a"]
    assert timing.times_ms == {1: 5.0, 2: 5.0, 3: 5.0}
    assert timing.stages_ms == [{"network": 2.5}] * 3
    assert len(log) == 4


def test_all_run_once_a_round_in_an_order_that_changes_and_repeats() -> None:
    first, second = _orders(6), _orders(6)
    assert first == second
    assert all(sorted(order) == [0, 1, 2, 3, 4, 5] for order in first)
    assert len(set(map(tuple, first))) == 4


def _orders(count: int) -> list[list[float]]:
    """Which of the contenders was called when, in the warm-up and in three rounds."""
    seen: list[float] = []

    def note(image: Image, options: Options) -> Output:
        seen.append(options["number"])
        return engine()(image, options)

    everyone = [replace(contender(str(n)), options={"number": n}) for n in range(count)]
    run(everyone, {"bicubic": note}, Plan(rounds=3))
    return [seen[start : start + count] for start in range(0, len(seen), count)]


def test_one_that_fails_says_why_and_the_others_go_on() -> None:
    log: list[str] = []
    engines: dict[EngineName, Engine] = {
        "pcsr": engine(error=RuntimeError("cannot\nallocate"), log=log),
        "bicubic": engine(2.0),
    }
    found = run([contender("bad", engine="pcsr"), contender("good")], engines, Plan(rounds=2))
    assert found["bad"].error == "RuntimeError: cannot allocate"
    assert found["bad"].times_ms == {}
    assert len(log) == 1
    assert list(found["good"].times_ms) == [1, 2]


def test_a_slow_one_runs_fewer_rounds_without_warm_up() -> None:
    log: list[str] = []
    timing = run([contender("a")], {"bicubic": engine(log=log)}, Plan(rounds=5, slow=["a"]))["a"]
    assert list(timing.times_ms) == [1, 2]
    assert len(log) == 2


def test_a_released_engine_is_made_and_warmed_up_for_every_time() -> None:
    made: list[EngineName] = []
    calls: list[str] = []

    def make(name: EngineName) -> Engine:
        made.append(name)
        return engine(log=calls)

    everyone = [contender("plain", engine="plain-ort"), contender("bicubic")]
    run_rounds(everyone, IMAGE, make, Plan(rounds=2, released=["plain-ort"]), lambda text: None)
    assert sorted(made) == ["bicubic", "plain-ort", "plain-ort", "plain-ort"]
    assert len(calls) == 3 + 2 * 3


def test_images_are_kept_for_comparisons_only() -> None:
    everyone = [contender("a", rival="b"), contender("b"), contender("c")]
    found = run(everyone, {"bicubic": engine()}, Plan(rounds=1))
    shapes = {name: timing.first.image.shape for name, timing in found.items() if timing.first}
    assert shapes == {"a": IMAGE.shape, "b": IMAGE.shape, "c": (0, 0, 3)}
