"""The fit of times, on planted ones."""

from collections.abc import Sequence
from dataclasses import astuple, replace

import numpy as np
import pytest

from pcsr.calibration.operating_point.cost_model import MOST_SPREAD, TimedCalls, fit
from pcsr.errors import UsageError
from pcsr.runtime.routing.time_model import Coefficients, Key, TimeModel, Workload

KEY = Key("a processor", "cpu", "native", "fp32", "native", 2)
PLANTED = TimeModel(KEY, Coefficients(3.0, 500.0, 40.0, 120.0, 60.0), ((1e4, 1.0),), 1.0)
SIZES = ((80, 120), (150, 220), (270, 400), (480, 720))


def samples(
    model: TimeModel, ratios: Sequence[float], noise: float, outliers: float = 0.0
) -> list[TimedCalls]:
    random = np.random.default_rng(0)
    found = []
    for size in SIZES:
        for scale in (4.0, 2.5):
            for ratio in ratios:
                work = Workload(size[0] * size[1], round(size[0] * scale) * round(size[1] * scale))
                times = model.usual_ms(work, ratio) * (1 + np.abs(random.normal(0, noise, 9)))
                times[random.random(9) < outliers] *= 5
                found.append(TimedCalls(size, scale, ratio, work, tuple(map(float, times))))
    return found


def fitted(noise: float, model: TimeModel = PLANTED, outliers: float = 0.0) -> TimeModel:
    given = samples(model, (0.0, 0.1, 0.4, 1.0), noise, outliers)
    return fit(KEY, given, samples(model, (0.2, 0.7), noise, outliers)).model


def test_planted_coefficients_are_found() -> None:
    found = fitted(0.0)
    assert astuple(found.coefficients) == pytest.approx(astuple(PLANTED.coefficients), rel=1e-6)
    assert all(factor == pytest.approx(1) for _, factor in found.factors)
    assert found.p90_over_p50 == 1


def test_noise_and_outliers_are_averaged_out() -> None:
    found = fitted(0.05, outliers=0.15).coefficients
    assert found.heavy_ns == pytest.approx(120, rel=0.15)
    assert found.backbone_ns == pytest.approx(500, rel=0.15)
    assert 1 < fitted(0.05).p90_over_p50 < 1.12
    assert fitted(0.05, outliers=0.15).p90_over_p50 == MOST_SPREAD


def test_sizes_that_are_slower_get_a_factor() -> None:
    bent = replace(PLANTED, factors=((40_000.0, 1.0), (345_600.0, 1.4)))
    found = fit(KEY, samples(bent, (0.0, 0.1, 0.4, 1.0), 0.0), samples(bent, (0.3,), 0.0))
    assert found.worst_error < 0.03
    factors = [factor for _, factor in found.model.factors]
    assert factors[-1] > 1.1 * factors[0]
    errors = [
        found.model.usual_ms(one.work, one.heavy_ratio) / one.usual_ms - 1 for one in found.samples
    ]
    assert np.abs(errors).max() < 0.04


def test_the_error_is_of_calls_that_were_left_out() -> None:
    other = replace(PLANTED, coefficients=replace(PLANTED.coefficients, heavy_ns=240.0))
    found = fit(KEY, samples(PLANTED, (0.0, 0.1, 0.4, 1.0), 0.0), samples(other, (1.0,), 0.0))
    assert found.median_error > 0.2


def test_no_coefficient_is_negative() -> None:
    nothing = replace(PLANTED, coefficients=Coefficients(5.0, 0.0, 0.0, 0.0, 0.0))
    found = fitted(0.2, nothing).coefficients
    assert min(astuple(found)) >= 0
    assert found.constant_ms == pytest.approx(5.3, rel=0.1)


def test_too_few_cases_are_refused() -> None:
    given = samples(PLANTED, (0.5,), 0.0)
    with pytest.raises(UsageError, match="4 measured cases are too few"):
        fit(KEY, given[:4], given[4:])
