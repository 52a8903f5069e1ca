"""The way of a GPU, as far as it runs on the CPU: PyTorch with the wall clock."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcsr.runtime.profiler.assemble import make_case
from pcsr.runtime.profiler.cases import Setup, Spec
from pcsr.runtime.profiler.device_bundle import DeviceBundle
from pcsr.runtime.profiler.measuring.ceilings import Ceilings
from pcsr.runtime.profiler.measuring.device import Clock, Lap
from pcsr.runtime.profiler.measuring.device_ceilings import device_ceilings
from pcsr.runtime.profiler.opened import open_upscaler
from pcsr.runtime.profiler.pictures import InputImage
from pcsr.runtime.profiler.plan import MeasurementPlan
from pcsr.runtime.profiler.session import measure_cases
from pcsr.runtime.routing.request import RoutingRequest

PLAN = MeasurementPlan(warmup_ms=0, duration_s=1e-9, iterations=4)
PICTURE = InputImage("p", np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8))


@pytest.fixture
def spec(carn_like_bundle: Path) -> Spec:
    setup = Setup(str(carn_like_bundle), "cpu", "torch")
    return Spec("ours, 20x24", setup, "ADM", 4, PICTURE, RoutingRequest(adaptive=True))


def opened(spec: Spec) -> DeviceBundle:
    return DeviceBundle(spec.setup, shapes=9)


def test_a_turn_measures_device_host_and_transfers(spec: Spec) -> None:
    bundle = opened(spec)
    turn = bundle.measure(spec)
    assert turn.device_ms is not None
    assert turn.enqueue_ms is not None
    assert turn.host_ms is not None
    assert turn.h2d_ms is not None
    assert turn.d2h_ms is not None
    assert turn.host_ms > turn.h2d_ms + turn.d2h_ms > 0
    assert {"backbone", "classifier", "upsampler_0"} <= set(turn.stage_ms)
    assert not {"upload", "download"} & set(turn.stage_ms)
    assert sum(turn.pixels) == 80 * 96
    assert bundle.first(spec).open_ms is not None


def test_a_case_of_a_device_has_its_own_figures(spec: Spec) -> None:
    bundle = opened(spec)
    series = measure_cases([spec], {spec.setup: bundle}, PLAN)
    case = make_case(spec, bundle.upscaler, series, Ceilings(100, 10, 1000), PLAN)
    for one in (case.device_ms, case.h2d_ms, case.d2h_ms, case.enqueue_ms):
        assert one is not None
        assert one.samples == 4
    assert case.device_ms is not None
    assert case.calls_per_s == pytest.approx(1000 / case.device_ms.mean)


def test_stages_of_slower_calls_are_told(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that stages are timed in come second."""
    bundle, laps = opened(spec), [1.0, 1.5] * PLAN.iterations

    def lap(self: Clock, call: Callable[[], Any], hold_ms: float) -> tuple[Lap, Any]:
        return Lap(laps.pop(0), 0.1), call()

    monkeypatch.setattr(Clock, "lap", lap)
    series = measure_cases([spec], {spec.setup: bundle}, PLAN)
    case = make_case(spec, bundle.upscaler, series, Ceilings(100, 10), PLAN)
    assert case.device_ms is not None
    assert case.device_ms.p50 == 1.0
    assert any("which take +50% of the device time" in warning for warning in case.warnings)


def test_the_stream_is_held_for_as_long_as_queueing_took(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[float] = []
    enqueue_ms = iter([4.0, 5.0, 9.0, 3.0, 1.0, 1.0])

    def lap(self: Clock, call: Callable[[], Any], hold_ms: float) -> tuple[Lap, Any]:
        held.append(hold_ms)
        return Lap(1.0, next(enqueue_ms)), call()

    monkeypatch.setattr(Clock, "lap", lap)
    bundle = opened(spec)
    for _ in range(3):
        bundle.measure(spec)
    assert held == pytest.approx([0.1, 0.1, 8.1, 10.1, 8.1, 6.1])


def test_shapes_stay_ready(spec: Spec) -> None:
    upscaler = open_upscaler(spec.setup)
    upscaler.keep_shapes(6)
    for height in range(8, 14):
        upscaler(np.zeros((height, 8, 3), np.uint8))
    assert upscaler.kept_shapes == 6


def test_ceilings_of_a_device() -> None:
    found = device_ceilings(str(torch.device("cpu")))
    assert min(found.gflop_s, found.gb_s, found.half_gflop_s or 0) > 0
