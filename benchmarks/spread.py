"""Medians, spread and paired ratios of a few times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pcsr.runtime.profiler.samples import names_of, paired_ratio, percentiles

__all__ = ["Spread", "paired_ratio", "percentiles", "stage_medians"]


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


def stage_medians(stages: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Median of each stage over all runs, in the order of execution."""
    names = names_of(stages)
    return {name: median(run.get(name, 0.0) for run in stages) for name in names}
