"""Which upsampler each pixel gets: fixed cost weight k, adaptive decision making (ADM), or a share
of heavy pixels.

The classifier's logits [N, K], heaviest first, become one difficulty logit per pixel, whose sigmoid
is the probability of the heavier half of the upsamplers. For M = 2 (K = 1) it is the classifier's
own output.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import ImageError, UsageError

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]

ADM_ITERATIONS = 20
ADM_TOLERANCE = 1e-4
ADM_BINS = 2**18
LARGEST_K = 1e6  # beyond any logit, and far from overflow


@dataclass(frozen=True)
class Mode:
    """How to route. At most one of `adaptive` and `heavy_ratio` is set; `k` is used where neither
    is.

    k: how much an upsampler's cost counts against its probability; 0 trusts the classifier alone,
        larger is lighter.
    adaptive: split the image's difficulties into M clusters (paper section 3.3).
    heavy_ratio: share in [0, 1] of the pixels, the most difficult ones, that go to the heavier
        half.
    """

    k: float = 0.0
    adaptive: bool = False
    heavy_ratio: float | None = None

    def __post_init__(self) -> None:
        if not abs(self.k) <= LARGEST_K:
            raise UsageError(
                f"k must be a number within ±{LARGEST_K:g}, found {self.k}; "
                "use 0 for the classifier's own choice"
            )
        if self.heavy_ratio is not None and not 0 <= self.heavy_ratio <= 1:
            raise UsageError(f"heavy_ratio must lie in [0, 1], found {self.heavy_ratio}")
        if self.adaptive and self.heavy_ratio is not None:
            raise UsageError("adaptive and heavy_ratio exclude each other; choose one")
        if self.k and (self.adaptive or self.heavy_ratio is not None):
            raise UsageError("k is not used with adaptive or heavy_ratio; leave it at 0")


@dataclass(frozen=True)
class Routing:
    """assignment: [N] uint8, 0 = heaviest. difficulty: [N] float32 in [0, 1].

    threshold: the difficulty above which a pixel belongs to the heavier half (ADM: at or above);
    None where no single threshold decides (M > 2 with k). Infinite where ADM finds a flat image.
    """

    assignment: Labels
    difficulty: Floats
    threshold: float | None


def heavy_count(upsamplers: int) -> int:
    """How many of M upsamplers belong to the heavier half, floor((M + 1) / 2)."""
    return (upsamplers + 1) // 2


def route(logits: Floats, cost: Floats, mode: Mode) -> Routing:
    """Routes N pixels. logits: [N, K] float32 heaviest first, K = 1 for M = 2, else M. cost: [M]
    cost table.

    Between upsamplers that are level the lighter one is taken, as in the published code.

    Raises:
        ImageError: a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise ImageError("the classifier gives NaN or infinite values for this image")
    if len(cost) == 2:
        return _route_two(logits[:, 0], cost, mode)
    logit = _difficulty_logit(logits)
    difficulty = sigmoid(logit)
    if mode.adaptive:
        _, thresholds = adaptive_thresholds(difficulty, len(cost))
        return Routing(
            _between(difficulty, thresholds), difficulty, thresholds[heavy_count(len(cost)) - 1]
        )
    utility = (logits - mode.k * np.log(cost)).astype(np.float32, copy=False)
    if mode.heavy_ratio is None:
        return Routing(_lightest_best(utility), difficulty, None)
    threshold = ratio_threshold(logit, mode.heavy_ratio)
    return Routing(_by_half(utility, logit > threshold), difficulty, float(sigmoid(threshold)))


def _route_two(logit: Floats, cost: Floats, mode: Mode) -> Routing:
    difficulty = sigmoid(logit)
    if mode.adaptive:
        _, (threshold,) = adaptive_thresholds(difficulty, 2)
        return Routing(_between(difficulty, [threshold]), difficulty, threshold)
    if mode.heavy_ratio is not None:
        cut = ratio_threshold(logit, mode.heavy_ratio)
    else:
        cut = np.float32(mode.k * math.log(float(cost[0]) / float(cost[1])))
    return Routing((logit <= cut).astype(np.uint8), difficulty, float(sigmoid(cut)))


def ratio_threshold(logit: Floats, ratio: float) -> np.float32:
    """The logit that round(ratio * N) values lie above; fewer where values are level with it."""
    above = round(ratio * len(logit))
    if above == len(logit):
        return np.float32(-np.inf)
    rank = len(logit) - above - 1
    return np.float32(np.partition(logit, rank)[rank])


def adaptive_thresholds(difficulty: Floats, clusters: int) -> tuple[list[float], list[float]]:
    """Adaptive decision making on one image: M centroids and the M - 1 thresholds between them,
    hardest first.

    Lloyd's algorithm on a histogram of the min-max normalised difficulties that keeps count and sum
    per bin, with the published start, stop and labels (those of the centroids before the last
    update; `pcsr.models.pcsr`). Centroids are normalised, thresholds are not. A flat image is all
    light: its thresholds are infinite.
    """
    low, high = float(difficulty.min()), float(difficulty.max())
    if low == high:
        return [low] * clusters, [math.inf] * (clusters - 1)
    histogram = _Histogram.of(difficulty, low, high)
    centroids = np.array([histogram.mean, 0.0]) if clusters == 2 else np.linspace(1, 0, clusters)
    for _ in range(ADM_ITERATIONS - 1):
        cuts = (centroids[:-1] + centroids[1:]) / 2
        updated = histogram.cluster_means(cuts, centroids)
        shift = float(np.square(updated - centroids).sum())
        centroids = updated
        if shift <= ADM_TOLERANCE:
            break
    return centroids.tolist(), (low + cuts * (high - low)).tolist()


def sigmoid(logit: NDArray[np.float32] | np.float32) -> Floats:
    """1 / (1 + exp(-logit)), without overflow."""
    decay = np.exp(-np.abs(logit))
    return np.asarray(np.where(logit >= 0, np.float32(1), decay) / (1 + decay), dtype=np.float32)


@dataclass(frozen=True)
class _Histogram:
    """Count and sum of all values below each of ADM_BINS + 1 edges of [0, 1]."""

    counts: NDArray[np.int64]
    sums: NDArray[np.float64]

    @classmethod
    def of(cls, difficulty: Floats, low: float, high: float) -> "_Histogram":
        normalised = (difficulty - np.float32(low)) / (np.float32(high) - np.float32(low))
        bins = np.minimum(normalised * np.float32(ADM_BINS), ADM_BINS - 1).astype(np.int32)
        counts = np.bincount(bins, minlength=ADM_BINS)
        sums = np.bincount(bins, weights=normalised, minlength=ADM_BINS)
        return cls(np.append(0, np.cumsum(counts)), np.append(0.0, np.cumsum(sums)))

    @property
    def mean(self) -> float:
        return float(self.sums[-1] / self.counts[-1])

    def cluster_means(
        self, cuts: NDArray[np.float64], centroids: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Mean of each cluster, hardest first, between descending cuts; an empty one keeps its
        centroid.
        """
        edges = np.array([ADM_BINS, *(self._edge(cut) for cut in cuts), 0])
        members = self.counts[edges[:-1]] - self.counts[edges[1:]]
        totals = self.sums[edges[:-1]] - self.sums[edges[1:]]
        means = centroids.copy()
        np.divide(totals, members, out=means, where=members > 0)
        return means

    def _edge(self, cut: float) -> int:
        """The bin edge nearest to where `cut` divides the values: its bin goes where the bin's mean
        lies.
        """
        bin_index = min(int(cut * ADM_BINS), ADM_BINS - 1)
        members = self.counts[bin_index + 1] - self.counts[bin_index]
        total = self.sums[bin_index + 1] - self.sums[bin_index]
        return bin_index + 1 if total < cut * members else bin_index


def _between(difficulty: Floats, thresholds: list[float]) -> Labels:
    """Label 0 at or above the first (largest) threshold, 1 below it, 2 below the second, ..."""
    labels = np.zeros(difficulty.shape, dtype=np.uint8)
    for threshold in thresholds:
        labels += difficulty < _least_float32(threshold)
    return labels


def _least_float32(bound: float) -> np.float32:
    """The least float32 that is not below `bound`: comparing float32 values with it is exact."""
    rounded = np.float32(bound)
    return np.nextafter(rounded, np.float32(np.inf)) if float(rounded) < bound else rounded


def _difficulty_logit(logits: Floats) -> Floats:
    heavy = heavy_count(logits.shape[1])
    shifted = logits - logits.max(axis=1, keepdims=True)
    weights = np.exp(shifted)
    tiny = np.finfo(np.float32).tiny
    heavier, lighter = weights[:, :heavy].sum(axis=1), weights[:, heavy:].sum(axis=1)
    ratio: Floats = np.log(np.maximum(heavier, tiny)) - np.log(np.maximum(lighter, tiny))
    return ratio


def _lightest_best(utility: Floats) -> Labels:
    last = utility.shape[1] - 1
    best: Labels = (last - utility[:, ::-1].argmax(axis=1)).astype(np.uint8)
    return best


def _by_half(utility: Floats, is_heavy: NDArray[np.bool_]) -> Labels:
    heavy = heavy_count(utility.shape[1])
    heavier, lighter = (
        _lightest_best(utility[:, :heavy]),
        _lightest_best(utility[:, heavy:]) + heavy,
    )
    return np.where(is_heavy, heavier, lighter).astype(np.uint8)
