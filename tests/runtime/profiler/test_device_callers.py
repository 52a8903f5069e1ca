"""The way of a GPU, as far as it runs on the CPU: PyTorch with the wall clock."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pcsr.runtime.profiler.assemble import make_case
from pcsr.runtime.profiler.callers import open_upscaler
from pcsr.runtime.profiler.cases import Engine, Spec
from pcsr.runtime.profiler.device_callers import DeviceCaller
from pcsr.runtime.profiler.device_ceilings import device_roof
from pcsr.runtime.profiler.device_clock import Lap, WallClock
from pcsr.runtime.profiler.pictures import Picture
from pcsr.runtime.profiler.plan import Plan
from pcsr.runtime.profiler.record import Ceilings
from pcsr.runtime.profiler.rounds import run_rounds

PLAN = Plan(warmup_ms=0, duration_s=1e-9, iterations=4)
PICTURE = Picture("p", np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8))


@pytest.fixture
def spec(carn_like_bundle: Path) -> Spec:
    engine = Engine(str(carn_like_bundle), "cpu", "torch")
    options = {"scale": 4, "adaptive": True}
    return Spec("ours, 20x24", engine, "pcsr", "ADM", 4, PICTURE, options)


def caller(spec: Spec) -> DeviceCaller:
    return DeviceCaller.opened(spec.engine, shapes=9)


def test_a_turn_measures_device_host_and_transfers(spec: Spec) -> None:
    opened = caller(spec)
    sample = opened.measure(spec)
    assert sample.device_ms is not None
    assert sample.enqueue_ms is not None
    assert sample.h2d_ms is not None
    assert sample.d2h_ms is not None
    assert sample.host_ms > sample.h2d_ms + sample.d2h_ms > 0
    assert {"backbone", "classifier", "upsampler_0"} <= set(sample.stage_ms)
    assert not {"upload", "download"} & set(sample.stage_ms)
    assert sum(sample.pixels) == 80 * 96
    assert opened.first(spec).open_ms is not None


def test_a_case_of_a_device_has_its_own_figures(spec: Spec) -> None:
    opened = caller(spec)
    timings = run_rounds([spec], {spec.engine: opened}, PLAN)
    case = make_case(spec, opened, timings, Ceilings(100, 10, 1000), PLAN)
    for one in (case.device_ms, case.h2d_ms, case.d2h_ms, case.enqueue_ms):
        assert one is not None
        assert one.samples == 4
    assert case.device_ms is not None
    assert case.calls_per_s == pytest.approx(1000 / case.device_ms.mean)


def test_stages_of_slower_calls_are_told(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that stages are timed in come second."""
    opened, laps = caller(spec), [1.0, 1.5] * PLAN.iterations

    def lap(self: WallClock, call: object, hold_ms: float) -> Lap:
        call()  # type: ignore[operator]
        return Lap(laps.pop(0), 0.1)

    monkeypatch.setattr(WallClock, "lap", lap)
    timings = run_rounds([spec], {spec.engine: opened}, PLAN)
    case = make_case(spec, opened, timings, Ceilings(100, 10), PLAN)
    assert case.device_ms is not None
    assert case.device_ms.p50 == 1.0
    assert any("which take +50% of the device time" in warning for warning in case.warnings)


def test_the_stream_is_held_for_as_long_as_queueing_took(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[float] = []
    enqueue_ms = iter([4.0, 5.0, 9.0, 3.0, 1.0, 1.0])

    def lap(self: WallClock, call: object, hold_ms: float) -> Lap:
        held.append(hold_ms)
        call()  # type: ignore[operator]
        return Lap(1.0, next(enqueue_ms))

    monkeypatch.setattr(WallClock, "lap", lap)
    opened = caller(spec)
    for _ in range(3):
        opened.measure(spec)
    assert held == pytest.approx([0.1, 0.1, 8.1, 10.1, 8.1, 6.1])


def test_shapes_stay_ready(spec: Spec) -> None:
    upscaler = open_upscaler(spec.engine)
    upscaler.keep_shapes(6)
    for height in range(8, 14):
        upscaler(np.zeros((height, 8, 3), np.uint8))
    assert upscaler.kept_shapes == 6


def test_ceilings_of_a_device() -> None:
    found = device_roof(str(torch.device("cpu")))
    assert min(found.gflop_s, found.gb_s, found.half_gflop_s or 0) > 0
