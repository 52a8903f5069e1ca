"""The fastest of what is right is taken, and the rest is named."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pcsr.runtime.torch_backend.trial import Run, difference, fastest

EXPECTED = torch.linspace(-1, 1, 20)


def giving(value: Tensor) -> Callable[[], Run]:
    return lambda: lambda: value


def raising(error: Exception) -> Callable[[], Run]:
    def run() -> Tensor:
        raise error

    return lambda: run


def timed(*times: float) -> Callable[[Run], float]:
    """A timer that says these times, in order."""
    left = [*times]
    return lambda _run: left.pop(0)


def test_the_fastest_is_taken() -> None:
    ways = {name: giving(EXPECTED.clone()) for name in ("operators", "a", "b")}
    outcome = fastest(ways, EXPECTED, timed(3.0, 1.0, 2.0))
    assert outcome.winner == "a"
    assert outcome.times_ms == {"operators": 3.0, "a": 1.0, "b": 2.0}
    assert str(outcome) == "a (operators 3.000, a 1.000, b 2.000)"


def test_what_is_there_stays_where_nothing_is_faster() -> None:
    ways = {name: giving(EXPECTED) for name in ("operators", "a")}
    assert fastest(ways, EXPECTED, timed(1.0, 1.0)).winner == "operators"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (EXPECTED + 0.1, "wrong by 0.1"),
        (EXPECTED * float("nan"), "wrong by nan"),
        (EXPECTED[:4], "torch.float32 [4] in place of [20]"),
        (EXPECTED.half(), "torch.float16 [20] in place of [20]"),
    ],
)
def test_a_wrong_candidate_is_dropped_and_named(wrong: Tensor, reason: str) -> None:
    ways = {"operators": giving(EXPECTED), "wrong": giving(wrong)}
    outcome = fastest(ways, EXPECTED, timed(1.0))  # the wrong one is not timed
    assert outcome.winner == "operators"
    assert outcome.dropped == {"wrong": reason}
    assert reason in str(outcome)


def test_a_raising_candidate_is_dropped_and_named() -> None:
    def unmade() -> Run:
        raise ImportError("No module named 'triton'")

    ways = {
        "operators": giving(EXPECTED),
        "raises": raising(RuntimeError("out of registers\nand more")),
        "without a word": raising(ValueError()),
        "unmade": unmade,
    }
    outcome = fastest(ways, EXPECTED, timed(1.0))
    assert outcome.dropped == {
        "raises": "out of registers",
        "without a word": "ValueError",
        "unmade": "No module named 'triton'",
    }


def test_a_candidate_that_only_the_timer_breaks_is_dropped() -> None:
    def timer(run: Run) -> float:
        if run() is not EXPECTED:
            raise RuntimeError("cannot be captured")
        return 1.0

    ways = {"operators": giving(EXPECTED), "other": giving(EXPECTED.clone())}
    assert fastest(ways, EXPECTED, timer).dropped == {"other": "cannot be captured"}


def test_errors_of_what_is_there_are_not_hidden() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        fastest(
            {"operators": raising(torch.OutOfMemoryError("full"))}, EXPECTED, lambda run: len(run())
        )


def test_rounding_is_no_difference() -> None:
    values = EXPECTED.half()
    assert not difference(values + 1e-3, values)
    assert difference(values + 1e-2, values)
