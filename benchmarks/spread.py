"""Medians, spread and paired ratios of a few times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Median and the 10th and 90th percentile (linear between neighbours)."""

    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one or more values."""
        p10, middle, p90 = percentiles(values, (10, 50, 90))
        return cls(middle, p10, p90)


def paired_ratio(times: Mapping[int, float], baseline: Mapping[int, float]) -> float | None:
    """Median over the rounds that both took part in of time / baseline; None without any."""
    common = sorted(times.keys() & baseline.keys())
    return median(times[number] / baseline[number] for number in common) if common else None


def stage_medians(stages: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Median of each stage over all runs, in the order of execution."""
    names = dict.fromkeys(name for run in stages for name in run)
    return {name: median(run.get(name, 0.0) for run in stages) for name in names}


def percentiles(values: Sequence[float], points: Sequence[int]) -> list[float]:
    """Of one or more values, linear between neighbours."""
    found: list[float] = np.percentile(values, points).tolist()
    return found
