"""Defines what makes a run doubtful, in words."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev

from .nvml import Reading
from .statistics import drift

SPREAD = 0.15  # standard deviation over mean
DRIFT = 0.10
FOREIGN_CORES = 0.25
UNACCOUNTED = 0.05
FEWEST = 5  # calls to judge a spread by


def case_warnings(times_ms: Sequence[float], unaccounted: float) -> list[str]:
    """Judges one case's times in their order. unaccounted: share of it that no stage holds."""
    found = []
    if len(times_ms) >= FEWEST and stdev(times_ms) > SPREAD * fmean(times_ms):
        share = stdev(times_ms) / fmean(times_ms)
        found.append(f"unstable: the standard deviation is {share:.0%} of the mean")
    moved = drift(times_ms)
    if abs(moved) > DRIFT:
        change = f"{abs(moved):.0%} {'more' if moved > 0 else 'less'}"
        found.append(f"drift: the last third of the calls took {change} time than the first")
    if abs(unaccounted) > UNACCOUNTED:
        found.append(f"the stages differ from the whole call by {unaccounted:+.0%} of its time")
    return found


def load_warnings(foreign_cores: float | None, throttled: int) -> list[str]:
    """Judges the machine. foreign_cores: of others. throttled: how often a limit struck."""
    found = []
    if foreign_cores is not None and foreign_cores > FOREIGN_CORES:
        found.append(f"others kept {foreign_cores:.1f} cores busy meanwhile: times are too long")
    if throttled:
        found.append(f"the container's CPU limit stopped this process {throttled} times meanwhile")
    return found


def gpu_warnings(readings: Sequence[Reading]) -> list[str]:
    """Judges readings during the run."""
    reasons: Mapping[str, None] = dict.fromkeys(r for one in readings for r in one.throttled_by)
    found = [f"the GPU throttles: {', '.join(reasons)}"] if reasons else []
    clocks = [one.sm_mhz for one in readings if one.sm_mhz]
    if clocks and min(clocks) < (1 - DRIFT) * median(clocks):
        found.append(f"the GPU's clock went from {max(clocks):.0f} down to {min(clocks):.0f} MHz")
    return found
