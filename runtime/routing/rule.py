"""Routes pixels to upsamplers: by a fixed cost weight k, adaptive decision making (ADM), or a share
of heavy pixels (paper sections 3.2 and 3.3).

The classifier's logits [N, K], heaviest first, become one difficulty logit per pixel, whose sigmoid
is the probability of the heavier half of the upsamplers. For M = 2 (K = 1) it is the classifier's
own output.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import ImageError

from .adaptive import Histogram, adaptive_thresholds
from .request import RoutingRequest

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]
Sigmoid = Callable[[Floats], Floats]
NO_LOGITS = "the classifier gives NaN or infinite values for this image"


@dataclass(frozen=True)
class Routing:
    """The upsampler of each of N pixels."""

    assignment: Labels
    """[N] uint8, 0 = heaviest."""
    difficulty: Floats
    """[N] float32 in [0, 1], the probability of the heavier half of the upsamplers."""
    threshold: float | None
    """The difficulty above which a pixel belongs to the heavier half (ADM: at or above); None where
    no single threshold decides (M > 2 with k), infinite where ADM finds a flat image."""


class Cut(NamedTuple):
    """Decides between two upsamplers: a pixel belongs to the heavy one where its difficulty is at
    least `bound`, or where its logit is above it.
    """

    of_difficulty: bool
    bound: float
    """A float32."""
    threshold: float | None
    """As in a `Routing`."""


def sigmoid(logit: NDArray[np.float32] | np.float32) -> Floats:
    """Computes 1 / (1 + exp(-logit)) without overflow."""
    decay = np.exp(-np.abs(logit))
    return np.asarray(np.where(logit >= 0, np.float32(1), decay) / (1 + decay), dtype=np.float32)


def heavy_count(upsamplers: int) -> int:
    """Counts the heavier half of M upsamplers, floor((M + 1) / 2)."""
    return (upsamplers + 1) // 2


def refined_below(request: RoutingRequest, upsamplers: int) -> int:
    """Counts the upsamplers beside whose pixels those of the others are smoothed; 0 for none."""
    return heavy_count(upsamplers) if request.is_refined and upsamplers > 1 else 0


@dataclass(frozen=True)
class Rule:
    """Routes pixels one by one: what a request, the costs and, where it needs them, the statistics
    of the whole image amount to. At most one of `bounds` and `cut` is set; with neither, M > 2
    compares utilities.
    """

    cost: Floats
    """[M] cost table."""
    k: float
    bounds: tuple[float, ...] | None = None
    """ADM's thresholds of difficulty, hardest first."""
    cut: np.float32 | None = None
    """The logit above which a pixel belongs to the heavier half."""

    @cached_property
    def of_two(self) -> Cut:
        """What decides where there are two upsamplers."""
        if self.bounds is not None:
            return Cut(True, float(_least_float32(self.bounds[0])), self.threshold)
        return Cut(False, float(self._cut), self.threshold)

    def __call__(self, logits: Floats, sigmoid: Sigmoid = sigmoid) -> Routing:
        """Routes pixels by their logits [N, K] float32, heaviest first, K = 1 for M = 2, else M.

        Between upsamplers that are level the lighter one is taken, as in the published code.

        Raises:
            ImageError: a logit is not finite.
        """
        count = len(self.cost)
        logit = difficulty_logit(logits)
        difficulty = sigmoid(logit)
        if self.bounds is not None:
            return Routing(_between(difficulty, self.bounds), difficulty, self.threshold)
        if count == 2:
            return Routing((logit <= self._cut).astype(np.uint8), difficulty, self.threshold)
        utility = (logits - self.k * np.log(self.cost)).astype(np.float32, copy=False)
        if self.cut is None:
            return Routing(_lightest_best(utility), difficulty, None)
        return Routing(_by_half(utility, logit > self.cut), difficulty, self.threshold)

    @property
    def limits(self) -> Floats | None:
        """What labels pixels one by one, [M - 1] falling: a pixel's label is the number of limits
        that its difficulty lies below, with `bounds`, or else its logit. None where utilities
        decide too.
        """
        if self.bounds is not None:
            return np.array([_least_float32(bound) for bound in self.bounds], dtype=np.float32)
        if len(self.cost) != 2:
            return None
        return np.array([np.nextafter(self._cut, np.float32(np.inf))], dtype=np.float32)

    @property
    def threshold(self) -> float | None:
        """See `Routing`."""
        if self.bounds is not None:
            return self.bounds[heavy_count(len(self.cost)) - 1]
        if len(self.cost) != 2 and self.cut is None:
            return None
        return _probability(self._cut)

    @property
    def _cut(self) -> np.float32:
        return np.float32(0) if self.cut is None else self.cut


def fixed_rule(cost: Floats, k: float) -> Rule:
    """Makes the rule of a fixed k, which needs nothing of the image."""
    if len(cost) == 2:
        return Rule(cost, k, cut=np.float32(k * math.log(float(cost[0]) / float(cost[1]))))
    return Rule(cost, k)


def adaptive_rule(cost: Floats, histogram: Histogram) -> Rule:
    """Makes the rule of adaptive decision making on an image with these difficulties."""
    return Rule(cost, 0.0, bounds=tuple(adaptive_thresholds(histogram, len(cost))[1]))


def ratio_rule(cost: Floats, logit: Floats, ratio: float) -> Rule:
    """Makes the rule that gives a share of pixels, by their difficulty logits [N], to the heavier
    half.
    """
    return Rule(cost, 0.0, cut=ratio_threshold(logit, ratio))


def route(logits: Floats, cost: Floats, request: RoutingRequest) -> Routing:
    """Routes all pixels of an image, as `Rule` does, by logits [N, K] and a cost table [M]."""
    if request.adaptive:
        difficulty = sigmoid(difficulty_logit(logits))
        rule = adaptive_rule(cost, Histogram.fine(difficulty))
    elif request.heavy_ratio is not None:
        rule = ratio_rule(cost, difficulty_logit(logits), request.heavy_ratio)
    else:
        rule = fixed_rule(cost, request.cost_weight)
    return rule(logits)


def ratio_threshold(logit: Floats, ratio: float) -> np.float32:
    """Finds the logit that round(ratio * N) values lie above; fewer where values equal it."""
    above = round(ratio * len(logit))
    if above == len(logit):
        return np.float32(-np.inf)
    rank = len(logit) - above - 1
    return np.float32(np.partition(logit, rank)[rank])


@lru_cache(64)
def _probability(logit: np.float32) -> float:
    return float(sigmoid(logit))


def _between(difficulty: Floats, thresholds: Sequence[float]) -> Labels:
    """Labels 0 at or above the first (largest) threshold, 1 below it, 2 below the second, ..."""
    labels = np.zeros(difficulty.shape, dtype=np.uint8)
    for threshold in thresholds:
        labels += difficulty < _least_float32(threshold)
    return labels


def _least_float32(bound: float) -> np.float32:
    """Finds the least float32 not below `bound`: comparing float32 values with it is exact."""
    rounded = np.float32(bound)
    return np.nextafter(rounded, np.float32(np.inf)) if float(rounded) < bound else rounded


def difficulty_logit(logits: Floats) -> Floats:
    """Computes the logit [N] of the heavier half of the upsamplers from logits [N, K], heaviest
    first.

    Raises:
        ImageError: a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise ImageError(NO_LOGITS)
    if logits.shape[1] == 1:
        return logits[:, 0]
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
    heavier, lighter = _lightest_best(utility[:, :heavy]), _lightest_best(utility[:, heavy:])
    return np.where(is_heavy, heavier, lighter + heavy).astype(np.uint8)
