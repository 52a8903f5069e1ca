"""Adaptive decision making (paper section 3.3): Lloyd's algorithm on a histogram of difficulty."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ITERATIONS = 20
TOLERANCE = 1e-4
BINS = 2**16


@dataclass
class Histogram:
    """Counts difficulties in BINS equal bins."""

    first: float = 0.0
    """Where the first bin begins."""
    last: float = 1.0
    """Where the last bin ends."""
    table: NDArray[np.float64] = field(default_factory=lambda: np.zeros((BINS, 2)))
    """[BINS, 2] count and sum of the values in each bin, the values as `exact_terms` has them."""
    low: float = math.inf
    """The least value."""
    high: float = -math.inf
    """The largest value."""

    @classmethod
    def of(cls, difficulty: Floats, first: float = 0.0, last: float = 1.0) -> "Histogram":
        """Counts the difficulties of one image at once."""
        place = (difficulty - np.float32(first)) / (np.float32(last) - np.float32(first))
        bins = np.clip(place * np.float32(BINS), 0, BINS - 1).astype(np.int32)
        counts = np.bincount(bins, minlength=BINS)
        sums = np.bincount(bins, weights=exact_terms(difficulty, first, last), minlength=BINS)
        table = np.stack([counts, sums], axis=1).astype(np.float64, copy=False)
        return cls(first, last, table, float(difficulty.min()), float(difficulty.max()))

    @classmethod
    def fine(cls, difficulty: Floats) -> "Histogram":
        """Counts the difficulties of one image, once more between their extremes where these lie
        close together.
        """
        found = cls.of(difficulty)
        return cls.of(difficulty, found.low, found.high) if found.is_coarse else found

    @property
    def is_coarse(self) -> bool:
        """Tells whether the values fill less than half of the bins, without being all the same:
        another histogram from `low` to `high` tells more.
        """
        return 0 < self.high - self.low < (self.last - self.first) / 2

    def widen(self, difficulty: Floats) -> None:
        """Notes the extremes of values that were added to the table."""
        self.low = min(self.low, float(difficulty.min()))
        self.high = max(self.high, float(difficulty.max()))

    def __add__(self, other: "Histogram") -> "Histogram":
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Histogram(self.first, self.last, self.table + other.table, low, high)


def exact_terms(difficulty: Floats, first: float, last: float) -> NDArray[np.float64]:
    """Gives the terms of the sums of a histogram, float64: those of a bin, 2**26 or fewer, have the
    same sum in any order, and may be taken out of it again.

    They are rounded to multiples of 2**-41 of the range, which few of the first bin are not.
    """
    exponent = math.frexp(np.float32(last) - np.float32(first))[1]
    grain = math.ldexp(1.5, exponent - 41 + 52)  # float64 has the multiples at this size
    terms: NDArray[np.float64] = difficulty.astype(np.float64)
    return (terms + grain) - grain


def adaptive_thresholds(histogram: Histogram, clusters: int) -> tuple[list[float], list[float]]:
    """Finds the M centroids and the M - 1 thresholds between them, hardest first.

    Lloyd's algorithm on the min-max normalised difficulties with the published start, stop and
    labels (those of the centroids before the last update; `pcsr.models.pcsr`). Centroids are
    normalised, thresholds are not. A flat image is all light: its thresholds are infinite.
    """
    low, high = histogram.low, histogram.high
    if low == high:
        return [low] * clusters, [math.inf] * (clusters - 1)
    prefixes = _Prefixes(histogram)
    centroids = np.array([prefixes.mean, 0.0]) if clusters == 2 else np.linspace(1, 0, clusters)
    for _ in range(ITERATIONS - 1):
        cuts = (centroids[:-1] + centroids[1:]) / 2
        updated = prefixes.cluster_means(cuts, centroids)
        shift = float(np.square(updated - centroids).sum())
        centroids = updated
        if shift <= TOLERANCE:
            break
    return centroids.tolist(), (low + cuts * (high - low)).tolist()


class _Prefixes:
    """Count and sum of all difficulties below a cut. Cuts and means are min-max normalised."""

    def __init__(self, histogram: Histogram) -> None:
        self._low, self._span = histogram.low, histogram.high - histogram.low
        self._first, self._width = histogram.first, (histogram.last - histogram.first) / BINS
        self._table = histogram.table
        self._below = np.zeros((BINS + 1, 2))
        np.cumsum(histogram.table, axis=0, out=self._below[1:])

    @property
    def mean(self) -> float:
        count, total = self._below[-1]
        return float((total / count - self._low) / self._span)

    def cluster_means(
        self, cuts: NDArray[np.float64], centroids: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Mean of each cluster, hardest first, between descending cuts; an empty one keeps its
        centroid.
        """
        edges = np.array([self._below[-1], *(self._below_cut(cut) for cut in cuts), (0.0, 0.0)])
        members, totals = (edges[:-1] - edges[1:]).T
        means = centroids.copy()
        np.divide(totals - members * self._low, members * self._span, out=means, where=members > 0)
        return means

    def _below_cut(self, cut: float) -> NDArray[np.float64]:
        """Inside the cut's bin the values count as evenly spread about their mean."""
        difficulty = self._low + cut * self._span
        place = (difficulty - self._first) / self._width
        index = min(max(int(place), 0), BINS - 1)
        below, (count, total) = self._below[index], self._table[index]
        if count == 0:
            return np.array(below)
        share = np.clip(place - index, 0.0, 1.0)
        if count == 1:
            share = float(total / count < difficulty)
        middle = total / count - (1 - share) * self._width / 2
        return np.array([below[0] + share * count, below[1] + share * count * middle])
