"""Statistics on numbers that can be checked in the head."""

from statistics import fmean, median

import pytest

from pcsr.runtime.profiler.measuring.statistics import (
    by_stage,
    distribution,
    drift,
    paired_ratio,
)


def test_a_distribution_of_known_times() -> None:
    found = distribution([30, 10, 20, 50, 40], (25.0, 99.9))
    assert (found.p50, found.p90, found.p95, found.p99) == pytest.approx((30, 46, 48, 49.6))
    assert (found.mean, found.least, found.most, found.samples) == (30, 10, 50, 5)
    assert found.std == pytest.approx(250**0.5)
    assert found.percentiles["p25"] == pytest.approx(20)
    assert found.percentiles["p99.9"] == pytest.approx(49.96)
    assert list(found.percentiles)[:4] == ["p50", "p90", "p95", "p99"]


def test_of_one_time_the_spread_is_nothing() -> None:
    found = distribution([7])
    assert (found.p50, found.p99, found.mean, found.std) == (7, 7, 7, 0)


def test_a_stage_that_a_run_skipped_took_nothing_there() -> None:
    runs = [{"backbone": 3.0}, {"backbone": 1.0, "refinement": 4.0}]
    assert by_stage(runs, fmean) == {"backbone": 2.0, "refinement": 2.0}
    assert list(by_stage(runs, fmean)) == ["backbone", "refinement"]
    runs = [{"backbone": 3.0, "refinement": 9.0}, {"backbone": 1.0}, {"backbone": 2.0}]
    assert by_stage(runs, median) == {"backbone": 2.0, "refinement": 0.0}
    assert by_stage([], median) == {}


def test_ratios_are_taken_within_a_round() -> None:
    """The machine was ten times slower in round 2; the ratio of medians would be 20 / 10 = 2."""
    times = {1: 2.0, 2: 20.0, 3: 40.0}
    assert paired_ratio(times, {1: 1.0, 2: 10.0, 3: 100.0}) == 2.0
    assert paired_ratio({1: 2.0, 2: 30.0, 3: 4.0}, {1: 1.0, 2: 10.0, 3: 1.0}) == 3.0


def test_only_common_rounds_count() -> None:
    assert paired_ratio({1: 6.0, 2: 9.0}, {2: 3.0, 3: 1.0}) == 3.0
    assert paired_ratio({1: 6.0}, {2: 3.0}) is None


def test_drift_is_between_the_thirds() -> None:
    assert drift([10, 10, 99, 99, 12, 12]) == pytest.approx(0.2)
    assert drift([10, 12, 11, 10, 11, 12]) == pytest.approx(0.0454545, abs=1e-6)
    assert drift([1, 2, 3, 4, 5]) == 0
