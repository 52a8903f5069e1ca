"""Statistics on numbers that can be checked in the head."""

import pytest

from benchmarks.spread import Spread, paired_ratio, stage_medians


def test_median_and_percentiles() -> None:
    spread = Spread.of([30, 10, 20, 50, 40])
    assert (spread.median, spread.p10, spread.p90) == pytest.approx((30, 14, 46))


def test_of_one_time_the_spread_is_nothing() -> None:
    assert Spread.of([7]) == Spread(7, 7, 7)


def test_ratios_are_taken_within_a_round() -> None:
    """The machine was ten times slower in round 2; the ratio of medians would be 20 / 10 = 2."""
    times = {1: 2.0, 2: 20.0, 3: 40.0}
    assert paired_ratio(times, {1: 1.0, 2: 10.0, 3: 100.0}) == 2.0
    assert paired_ratio({1: 2.0, 2: 30.0, 3: 4.0}, {1: 1.0, 2: 10.0, 3: 1.0}) == 3.0


def test_only_common_rounds_count() -> None:
    assert paired_ratio({1: 6.0, 2: 9.0}, {2: 3.0, 3: 1.0}) == 3.0
    assert paired_ratio({1: 6.0}, {2: 3.0}) is None


def test_a_stage_that_a_run_skipped_took_nothing_there() -> None:
    stages = [{"backbone": 3.0, "refinement": 9.0}, {"backbone": 1.0}, {"backbone": 2.0}]
    assert stage_medians(stages) == {"backbone": 2.0, "refinement": 0.0}
    assert stage_medians([]) == {}
