"""Adaptive decision making (paper section 3.3): Lloyd's algorithm on a histogram of difficulty."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ITERATIONS = 20
TOLERANCE = 1e-4
BINS = 2**18


@dataclass
class Histogram:
    """Difficulties in [0, 1] in BINS equal bins that keep count and sum; their least and largest."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    low: float = math.inf
    high: float = -math.inf

    @classmethod
    def of(cls, difficulty: Floats) -> "Histogram":
        """Of one image at once."""
        bins = np.minimum(difficulty * np.float32(BINS), BINS - 1).astype(np.int32)
        counts = np.bincount(bins, minlength=BINS)
        sums = np.bincount(bins, weights=difficulty, minlength=BINS).astype(np.float64, copy=False)
        return cls(counts, sums, float(difficulty.min()), float(difficulty.max()))

    def widen(self, difficulty: Floats) -> None:
        """Notes the extremes of values that were added to counts and sums."""
        self.low = min(self.low, float(difficulty.min()))
        self.high = max(self.high, float(difficulty.max()))


def adaptive_thresholds(histogram: Histogram, clusters: int) -> tuple[list[float], list[float]]:
    """M centroids and the M - 1 thresholds between them, hardest first.

    Lloyd's algorithm on the min-max normalised difficulties with the published start, stop and
    labels (those of the centroids before the last update; `pcsr.models.pcsr`). Centroids are
    normalised, thresholds are not. A flat image is all light: its thresholds are infinite.
    """
    low, high = histogram.low, histogram.high
    if low == high:
        return [low] * clusters, [math.inf] * (clusters - 1)
    prefixes = _Prefixes.of(histogram)
    centroids = np.array([prefixes.mean, 0.0]) if clusters == 2 else np.linspace(1, 0, clusters)
    for _ in range(ITERATIONS - 1):
        cuts = (centroids[:-1] + centroids[1:]) / 2
        updated = prefixes.cluster_means(cuts, centroids)
        shift = float(np.square(updated - centroids).sum())
        centroids = updated
        if shift <= TOLERANCE:
            break
    return centroids.tolist(), (low + cuts * (high - low)).tolist()


@dataclass(frozen=True)
class _Prefixes:
    """Count and normalised sum of all difficulties below each of BINS + 1 edges of [0, 1]."""

    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    low: float
    high: float

    @classmethod
    def of(cls, histogram: Histogram) -> "_Prefixes":
        low, high = histogram.low, histogram.high
        normalised = (histogram.sums - low * histogram.counts) / (high - low)
        counts, sums = np.cumsum(histogram.counts), np.cumsum(normalised)
        return cls(np.append(0, counts), np.append(0.0, sums), low, high)

    @property
    def mean(self) -> float:
        return float(self.sums[-1] / self.counts[-1])

    def cluster_means(
        self, cuts: NDArray[np.float64], centroids: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Mean of each cluster, hardest first, between descending cuts; an empty one keeps its
        centroid.
        """
        edges = np.array([BINS, *(self._edge(cut) for cut in cuts), 0])
        members = self.counts[edges[:-1]] - self.counts[edges[1:]]
        totals = self.sums[edges[:-1]] - self.sums[edges[1:]]
        means = centroids.copy()
        np.divide(totals, members, out=means, where=members > 0)
        return means

    def _edge(self, cut: float) -> int:
        """The bin edge nearest to where `cut` divides the values: its bin goes where the bin's mean
        lies.
        """
        difficulty = self.low + cut * (self.high - self.low)
        bin_index = min(int(difficulty * BINS), BINS - 1)
        members = self.counts[bin_index + 1] - self.counts[bin_index]
        total = self.sums[bin_index + 1] - self.sums[bin_index]
        return bin_index + 1 if total < cut * members else bin_index
