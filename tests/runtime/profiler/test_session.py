"""Turns and ratios, with bundles whose times are known."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pcsr import Bundle
from pcsr.runtime.profiler.assemble import make_case
from pcsr.runtime.profiler.cases import Setup, Spec
from pcsr.runtime.profiler.measuring.calls import Answer, Measurement
from pcsr.runtime.profiler.measuring.ceilings import Ceilings
from pcsr.runtime.profiler.measuring.first_use import FirstUse
from pcsr.runtime.profiler.opened import OpenedBundle
from pcsr.runtime.profiler.pictures import InputImage
from pcsr.runtime.profiler.plan import MeasurementPlan
from pcsr.runtime.profiler.session import measure_cases

PLAN = MeasurementPlan(warmup_ms=0, duration_s=1e-9, iterations=6)
SMALL, LARGE = (
    InputImage("s", np.zeros((4, 6, 3), np.uint8)),
    InputImage("l", np.zeros((8, 6, 3), np.uint8)),
)


def spec(name: str, setup: Setup, picture: InputImage = SMALL, baseline: str | None = None) -> Spec:
    return Spec(name, setup, "k=0", 4, picture, baseline=baseline)


class Known(OpenedBundle):
    """Its turns take `ms`; keeps the order of calls."""

    least_warm_ups = 2

    def __init__(self, ms: float, calls: list[str]) -> None:
        self._ms, self._calls, self._turn = ms, calls, 0
        self.upscaler: Any = SimpleNamespace(backend="native", passes="native")

    def first(self, spec: Spec) -> FirstUse:
        return FirstUse(3 * self._ms, 5.0, peak_mib=10.0)

    def call(self, spec: Spec) -> tuple[float, Answer]:
        self._calls.append(f"call {spec.name}")
        return 2 * self._ms, Answer(None)

    def staged(self, spec: Spec) -> None:
        raise AssertionError

    def measure(self, spec: Spec) -> Measurement:
        """The machine is ten times slower in every second round."""
        self._calls.append(spec.name)
        self._turn += 1
        ms = self._ms * (10 if self._turn % 2 else 1)
        return Measurement(ms, {"backbone": 0.9 * ms}, ms, (100, 284))


def test_a_call_after_another_size_is_kept_apart() -> None:
    setup, calls = Setup("b"), list[str]()
    specs = [spec("small", setup), spec("large", setup, LARGE)]
    found = measure_cases(specs, {setup: Known(1.0, calls)}, PLAN)
    for i, name in enumerate(calls):
        if not name.startswith("call "):  # a turn
            assert calls[i - 1] in (name, f"call {name}")
    for series in found.values():
        assert len(series.rounds) == PLAN.iterations
        assert set(series.switches_ms) == {2.0}
    one = measure_cases(specs[:1], {setup: Known(1.0, [])}, PLAN)
    assert one["small"].switches_ms == []


def test_it_goes_on_until_the_time_is_up() -> None:
    setup, said = Setup("b"), list[str]()
    plan = MeasurementPlan(warmup_ms=0, duration_s=0.05, iterations=1)
    found = measure_cases([spec("a", setup)], {setup: Known(1.0, [])}, plan, said.append)
    assert len(found["a"].rounds) > 100
    rounds = [text for text in said if text.startswith("round")]
    assert rounds[0] == "round 1, at least 1"
    assert rounds[1] == "round 2, about 0 s left"


def test_a_planted_slow_down_is_the_ratio(plain_bundle: Path, carn_like_bundle: Path) -> None:
    """Ratios are taken within the rounds: the machine's own slowness is in both."""
    ours, plain = Setup(str(carn_like_bundle)), Setup(str(plain_bundle))
    specs = [spec("ours", ours, baseline="plain"), spec("plain", plain, baseline="plain")]
    bundles = {ours: Known(3.0, []), plain: Known(2.0, [])}
    bundles[ours].upscaler.bundle = Bundle.load(carn_like_bundle)
    series = measure_cases(specs, bundles, PLAN)
    case = make_case(specs[0], bundles[ours].upscaler, series, Ceilings(100, 10), PLAN)
    assert case.over_baseline == pytest.approx(1.5)
    assert case.unaccounted_ms == pytest.approx(0.1 * case.host_ms.mean)
    assert case.stages[0].share == pytest.approx(0.9)
    assert any("+10%" in warning for warning in case.warnings)
    assert (case.first_ms, case.open_ms, case.peak_mib) == (9.0, 5.0, 10.0)
    assert case.calls_per_s == pytest.approx(1000 / case.host_ms.mean)


def test_what_the_runtime_warns_of_is_noted_once() -> None:
    class Warns(Known):
        def measure(self, spec: Spec) -> Measurement:
            warnings.warn("a frame runs without a CUDA graph", RuntimeWarning, stacklevel=2)
            warnings.warn("soon gone", FutureWarning, stacklevel=2)
            return super().measure(spec)

    setup = Setup("b")
    found = measure_cases([spec("a", setup)], {setup: Warns(1.0, [])}, PLAN)
    assert found["a"].notes == ["a frame runs without a CUDA graph"]
