"""Statistics of a few times."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, stdev
from typing import TypeVar

import numpy as np

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
KEPT_POINTS = (50.0, 90.0, 95.0, 99.0)


@dataclass(frozen=True)
class Distribution:
    """Describes milliseconds of one or more calls; percentiles are linear between neighbours."""

    p50: float
    p90: float
    p95: float
    p99: float
    mean: float
    std: float
    """Standard deviation of the sample; 0 for one call."""
    least: float
    most: float
    samples: int
    percentiles: Mapping[str, float] = field(default_factory=dict)
    """By name (`p50`, `p99.9`): those above, and what else was asked for."""


def distribution(values: Sequence[float], points: Sequence[float] = ()) -> Distribution:
    """Describes one or more values. points: percentiles beside those that are always there."""
    points = tuple(dict.fromkeys((*KEPT_POINTS, *points)))
    p50, p90, p95, p99, *_ = found = np.percentile(values, points).tolist()
    spread = stdev(values) if len(values) > 1 else 0.0
    moments = (fmean(values), spread, min(values), max(values))
    named = {f"p{point:g}": value for point, value in zip(points, found, strict=True)}
    return Distribution(p50, p90, p95, p99, *moments, len(values), named)


def known_distribution(
    values: Iterable[float | None], points: Sequence[float] = ()
) -> Distribution | None:
    """Describes the values that are known; None without any."""
    known = [value for value in values if value is not None]
    return distribution(known, points) if known else None


def paired_ratio(times: Mapping[int, float], baseline: Mapping[int, float]) -> float | None:
    """Gives the median of time / baseline over the rounds of both; None without any."""
    common = sorted(times.keys() & baseline.keys())
    return median(times[number] / baseline[number] for number in common) if common else None


def by_stage(
    runs: Sequence[Mapping[str, float]], average: Callable[[Iterable[float]], float]
) -> dict[str, float]:
    """Averages each stage over all runs, in the order of execution. What a run lacks took nothing
    there. average: as `fmean` or `median`.
    """
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: average(run.get(name, 0.0) for run in runs) for name in names}


def grouped(entries: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Gathers entries of the same key, in the order of their first appearance."""
    groups: dict[K, list[T]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return groups


def drift(values: Sequence[float]) -> float:
    """Gives median of the last third / median of the first - 1; 0 for fewer than 6 values."""
    third = len(values) // 3
    if third < 2:
        return 0.0
    return median(values[-third:]) / median(values[:third]) - 1
