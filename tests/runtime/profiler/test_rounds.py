"""Turns and ratios, with callers whose times are known."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pcsr import Bundle
from pcsr.runtime.profiler.assemble import make_case
from pcsr.runtime.profiler.callers import Sample
from pcsr.runtime.profiler.cases import Engine, Spec
from pcsr.runtime.profiler.cold import FirstUse
from pcsr.runtime.profiler.pictures import Picture
from pcsr.runtime.profiler.plan import Plan
from pcsr.runtime.profiler.record import Ceilings
from pcsr.runtime.profiler.rounds import run_rounds, turns

PLAN = Plan(warmup_ms=0, duration_s=1e-9, iterations=6)
SMALL, LARGE = (
    Picture("s", np.zeros((4, 6, 3), np.uint8)),
    Picture("l", np.zeros((8, 6, 3), np.uint8)),
)


def spec(name: str, engine: Engine, picture: Picture = SMALL, baseline: str | None = None) -> Spec:
    return Spec(name, engine, "pcsr", "k=0", 4, picture, {}, baseline, name == baseline)


class Known:
    """Its turns take `ms`; keeps the order of calls."""

    least_warm_ups = 2

    def __init__(self, ms: float, calls: list[str]) -> None:
        self._ms, self._calls, self._turn = ms, calls, 0
        self.upscaler: Any = SimpleNamespace(backend="native", passes="native")

    def first(self, spec: Spec) -> FirstUse:
        return FirstUse(3 * self._ms, 10.0, 5.0)

    def call(self, spec: Spec) -> tuple[float, Any]:
        self._calls.append(f"call {spec.name}")
        return 2 * self._ms, None

    def traced(self, spec: Spec) -> None:
        raise AssertionError

    def measure(self, spec: Spec) -> Sample:
        """The machine is ten times slower in every second round."""
        self._calls.append(spec.name)
        self._turn += 1
        ms = self._ms * (10 if self._turn % 2 else 1)
        return Sample(ms, {"backbone": 0.9 * ms}, ms, (100, 284))


def test_every_round_has_every_case_once_and_sizes_together() -> None:
    engine = Engine("b")
    specs = [spec(f"{p.name}{i}", engine, p) for p in (SMALL, LARGE) for i in range(4)]
    orders = [[s.name for s in turns(specs, number, 0)] for number in range(20)]
    for order in orders:
        assert sorted(order) == sorted(s.name for s in specs)
        assert len({name[0] for name in order[:4]}) == 1
    assert len({tuple(order) for order in orders}) > 10
    assert {order[0][0] for order in orders} == {"s", "l"}
    assert orders[3] == [s.name for s in turns(specs, 3, 0)]
    assert orders != [[s.name for s in turns(specs, number, 1)] for number in range(20)]


def test_a_call_after_another_size_is_kept_apart() -> None:
    engine, calls = Engine("b"), list[str]()
    specs = [spec("small", engine), spec("large", engine, LARGE)]
    found = run_rounds(specs, {engine: Known(1.0, calls)}, PLAN)
    for i, name in enumerate(calls):
        if not name.startswith("call "):  # a turn
            assert calls[i - 1] in (name, f"call {name}")
    for timing in found.values():
        assert len(timing.samples) == PLAN.iterations
        assert set(timing.switches_ms) == {2.0}
    one = run_rounds(specs[:1], {engine: Known(1.0, [])}, PLAN)
    assert one["small"].switches_ms == []


def test_it_goes_on_until_the_time_is_up() -> None:
    engine = Engine("b")
    plan = Plan(warmup_ms=0, duration_s=0.05, iterations=1)
    found = run_rounds([spec("a", engine)], {engine: Known(1.0, [])}, plan)
    assert len(found["a"].samples) > 100


def test_a_planted_slow_down_is_the_ratio(plain_bundle: Path, carn_like_bundle: Path) -> None:
    """Ratios are taken within the rounds: the machine's own slowness is in both."""
    ours, plain = Engine(str(carn_like_bundle)), Engine(str(plain_bundle))
    specs = [spec("ours", ours, baseline="plain"), spec("plain", plain, baseline="plain")]
    callers = {ours: Known(3.0, []), plain: Known(2.0, [])}
    callers[ours].upscaler.bundle = Bundle.load(carn_like_bundle)
    timings = run_rounds(specs, callers, PLAN)
    case = make_case(specs[0], callers[ours], timings, Ceilings(100, 10), PLAN)
    assert case.over_baseline == pytest.approx(1.5)
    assert case.unaccounted_ms == pytest.approx(0.1 * case.host_ms.mean)
    assert case.stages[0].share == pytest.approx(0.9)
    assert any("+10%" in warning for warning in case.warnings)
    assert (case.first_ms, case.open_ms, case.peak_mib) == (9.0, 5.0, 10.0)
    assert case.calls_per_s == pytest.approx(1000 / case.host_ms.mean)


def test_what_the_runtime_warns_of_is_noted_once() -> None:
    class Warns(Known):
        def measure(self, spec: Spec) -> Sample:
            warnings.warn("a frame runs without a CUDA graph", RuntimeWarning, stacklevel=2)
            warnings.warn("soon gone", FutureWarning, stacklevel=2)
            return super().measure(spec)

    engine = Engine("b")
    found = run_rounds([spec("a", engine)], {engine: Warns(1.0, [])}, PLAN)
    assert found["a"].notes == ["a frame runs without a CUDA graph"]
