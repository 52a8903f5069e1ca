"""A run that is not to be trusted says why."""

import pytest

from pcsr.runtime.profiler.measuring.monitor import Monitor
from pcsr.runtime.profiler.measuring.nvml import Reading
from pcsr.runtime.profiler.measuring.stability import case_warnings, gpu_warnings, load_warnings


def test_quiet_times_raise_no_warning() -> None:
    assert case_warnings([10, 10.5, 9.8, 10.1, 10.2, 9.9], 0.03) == []
    assert load_warnings(0.1, 0) == load_warnings(None, 0) == []
    assert gpu_warnings([Reading(sm_mhz=1980, reasons=0x1), Reading(sm_mhz=1950)]) == []


@pytest.mark.parametrize(
    ("times", "unaccounted", "word"),
    [
        ([10, 20, 10, 20, 10, 20], 0.0, "unstable"),
        ([10, 10, 10, 10, 12, 12], 0.0, "drift: the last third of the calls took 20% more time"),
        ([10, 10, 10, 10, 8, 8], 0.0, "took 20% less time"),
        ([10, 10, 10], 0.06, "+6%"),
        ([10, 10, 10], -0.2, "-20%"),
    ],
)
def test_each_doubt_has_its_word(times: list[float], unaccounted: float, word: str) -> None:
    assert word in " ".join(case_warnings(times, unaccounted))


def test_load_and_limits() -> None:
    assert "1.5 cores" in load_warnings(1.5, 0)[0]
    assert "3 times" in load_warnings(None, 3)[0]


def test_a_throttling_gpu() -> None:
    readings = [Reading(sm_mhz=1980), Reading(sm_mhz=1980), Reading(sm_mhz=1200, reasons=0x44)]
    throttled, slower = gpu_warnings(readings)
    assert "power limit" in throttled
    assert "temperature (hardware)" in throttled
    assert "1980 down to 1200 MHz" in slower


def test_the_monitor_counts_what_struck_since_it_was_made() -> None:
    strikes = iter([5, 9])
    monitor = Monitor(throttled=lambda: next(strikes))
    assert any("4 times" in warning for warning in monitor.warnings())


def test_the_monitor_reads_the_gpu_at_most_once_a_second() -> None:
    readings = iter([Reading(sm_mhz=1000.0, power_w=300.0), Reading(sm_mhz=1.0)])
    monitor = Monitor(lambda: next(readings), lambda: None)
    monitor.tick()
    monitor.tick()
    state = monitor.facts()["gpu_state"]
    assert state["before"] == state["after"]
    assert state["after"] == {"sm_mhz": 1000.0, "power_w": 300.0, "throttled_by": []}
    assert state["median_power_w"] == 300.0
