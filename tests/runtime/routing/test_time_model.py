"""Predicted times, and the share of heavy pixels that fits a budget."""

from dataclasses import replace

import pytest

from pcsr.runtime.routing.time_model import Coefficients, Key, TimeModel, Workload

KEY = Key("a processor", "cpu", "native", "fp32", "native", 2)
MODEL = TimeModel(KEY, Coefficients(2.0, 600.0, 30.0, 100.0, 60.0), ((1e4, 1.0),), 1.0)
WORK = Workload(100_000, 1_600_000)


def test_the_terms_add_up() -> None:
    light_ms = 2 + 1e-6 * (600 * 100_000 + 30 * 1_600_000)
    assert MODEL.usual_ms(WORK, 0.0) == pytest.approx(light_ms)
    heavy_ms = 1e-6 * 0.25 * 1_600_000 * (100 + 60 * 0.75)
    assert MODEL.usual_ms(WORK, 0.25) == pytest.approx(light_ms + heavy_ms)


def test_sizes_between_measured_ones_are_interpolated() -> None:
    bent = replace(MODEL, factors=((1e4, 1.0), (1e6, 2.0)))
    light_ms, heavy_ms = MODEL.light_ms(WORK), MODEL.heavy_ms(WORK, 0.5)
    assert bent.usual_ms(WORK, 0.5) == pytest.approx(1.5 * light_ms + heavy_ms)  # by the logarithm
    for pixels, factor in ((100, 1.0), (10_000, 1.0), (1_000_000, 2.0), (5_000_000, 2.0)):
        work = Workload(pixels, 1_600_000)
        assert bent.usual_ms(work, 0.0) == pytest.approx(factor * MODEL.usual_ms(work, 0.0))


@pytest.mark.parametrize("spread", [1.0, 1.2])
@pytest.mark.parametrize("ratio", [0.001, 0.2, 0.5, 0.9, 0.999])
def test_the_share_within_a_budget_is_the_inverse(ratio: float, spread: float) -> None:
    model = replace(MODEL, p90_over_p50=spread)
    budget_ms = spread * model.usual_ms(WORK, ratio)
    assert model.ratio_within(budget_ms, WORK) == pytest.approx(ratio, abs=1e-6)


def test_ends_of_the_budget() -> None:
    least_ms, most_ms = MODEL.usual_ms(WORK, 0.0), MODEL.usual_ms(WORK, 1.0)
    assert MODEL.ratio_within(1.001 * most_ms, WORK) == 1.0
    assert MODEL.ratio_within(0.999 * least_ms, WORK) is None
    assert MODEL.ratio_within(1.0001 * least_ms, WORK) == pytest.approx(0, abs=1e-3)
