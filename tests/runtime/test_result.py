"""The figures of a call."""

import copy
import dataclasses
import pickle
from collections.abc import Mapping

import pytest

from pcsr.runtime.result import Stats

FIGURES = {
    "lr_size": (2, 3),
    "hr_size": (4, 6),
    "pixels_per_upsampler": (4, 20),
    "threshold": 0.5,
    "total_ms": 3.0,
}


def test_stage_times_are_reckoned_when_they_are_read_and_once() -> None:
    asked = []

    def reckon() -> Mapping[str, float]:
        asked.append(1)
        return {"backbone": 2.0}

    stats = Stats.timed(reckon, **FIGURES)
    assert stats.heavy_share == 4 / 24
    assert not asked
    assert stats.stage_ms == {"backbone": 2.0}
    assert stats.stage_ms is stats.stage_ms
    assert len(asked) == 1
    with pytest.raises(AttributeError, match="'colour'"):
        stats.colour  # type: ignore[attr-defined]  # noqa: B018


def test_figures_are_those_of_stage_times_that_were_given() -> None:
    given = Stats(stage_ms={"backbone": 2.0}, **FIGURES)  # type: ignore[arg-type]

    def timed() -> Stats:
        return Stats.timed(lambda: {"backbone": 2.0}, **FIGURES)

    assert timed() == given
    assert repr(timed()) == repr(given)
    assert pickle.loads(pickle.dumps(timed())) == given
    assert copy.deepcopy(timed()) == copy.copy(timed()) == given
    assert dataclasses.replace(timed(), total_ms=3.0) == given
    assert dataclasses.asdict(timed()) == dataclasses.asdict(given)
