"""What a report of precision warns of."""

from dataclasses import replace

import pytest

from pcsr.calibration.precision.report import GraphSetReport, PrecisionReport
from pcsr.calibration.precision.search import SearchResult
from pcsr.calibration.precision.speed import Speed

SPEED = Speed(
    (64, 64), 2, 7, "ONNX Runtime", graph_fp32_ms=10, graph_ms=8, call_fp32_ms=20, call_ms=18
)


def report(speed: Speed) -> PrecisionReport:
    found = SearchResult(level=0.0, layers=(), quantised=(), copied=(), figures=())
    one = GraphSetReport("cpu", "int8-cpu", found, speed)
    return PrecisionReport("int8", "b", {}, (), (one,), {}, {})


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, []),
        ({"graph_ms": 15.6}, ["the image graph takes 15.6 ms instead of 10.0 (1.56 times"]),
        ({"call_ms": 25.0}, ["a whole call takes 25.0 ms instead of 20.0 (1.25 times"]),
        ({"graph_ms": 11.0, "call_ms": 21.0}, ["the image graph takes", "a whole call takes"]),
    ],
)
def test_what_is_slower_than_fp32_is_said(changes: dict[str, float], warned: list[str]) -> None:
    found = report(replace(SPEED, **changes)).warnings()  # type: ignore[arg-type]
    assert len(found) == len(warned)
    for text, expected in zip(found, warned, strict=True):
        assert text.startswith("on this machine int8 is slower than fp32: ")
        assert expected in text
        assert text.endswith("use --precision fp32 here")
