"""Statistics of a few times."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median, stdev

import numpy as np

from .record import Distribution

KEPT_POINTS = (50.0, 90.0, 95.0, 99.0)


def percentiles(values: Sequence[float], points: Sequence[float]) -> list[float]:
    """Of one or more values, linear between neighbours."""
    found: list[float] = np.percentile(values, points).tolist()
    return found


def distribution(values: Sequence[float], points: Sequence[float] = ()) -> Distribution:
    """Of one or more values. points: percentiles beside those that are always there."""
    points = tuple(dict.fromkeys((*KEPT_POINTS, *points)))
    p50, p90, p95, p99, *_ = found = percentiles(values, points)
    return Distribution(
        p50,
        p90,
        p95,
        p99,
        mean=fmean(values),
        std=stdev(values) if len(values) > 1 else 0.0,
        least=min(values),
        most=max(values),
        samples=len(values),
        percentiles={f"p{point:g}": value for point, value in zip(points, found, strict=True)},
    )


def paired_ratio(times: Mapping[int, float], baseline: Mapping[int, float]) -> float | None:
    """Median over the rounds that both took part in of time / baseline; None without any."""
    common = sorted(times.keys() & baseline.keys())
    return median(times[number] / baseline[number] for number in common) if common else None


def means(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each name over all runs, in the order of their first appearance. What a run lacks
    took nothing there.
    """
    names = names_of(runs)
    return {name: fmean(run.get(name, 0.0) for run in runs) for name in names}


def names_of(runs: Iterable[Mapping[str, float]]) -> list[str]:
    """All names, in the order of their first appearance."""
    return list(dict.fromkeys(name for run in runs for name in run))


def drift(values: Sequence[float]) -> float:
    """Median of the last third over that of the first one, less 1; 0 for fewer than 6 values."""
    third = len(values) // 3
    if third < 2:
        return 0.0
    return median(values[-third:]) / median(values[:third]) - 1
