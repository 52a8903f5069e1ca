"""The statistics of a whole image that ADM and heavy_ratio need before they route its pixels."""

import functools
import operator
from collections.abc import Callable
from threading import get_ident
from typing import Protocol

import numpy as np

from pcsr.runtime.geometry.grid import Floats
from pcsr.runtime.routing.adaptive import Histogram
from pcsr.runtime.routing.ranking import RankCounts
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import Rule, adaptive_rule, difficulty_logit, ratio_rule
from pcsr.runtime.timing import Stopwatch

from .passes import add_to_histogram, sigmoid


class Collector(Protocol):
    """Collects something of all pixels. Several threads may add at once."""

    def add(self, logits: Floats) -> None:
        """Adds the logits [N, K] of some pixels."""


class Statistics:
    """Collects what ADM or heavy_ratio needs to know of all pixels: a histogram, or every logit."""

    def __init__(self, request: RoutingRequest, first: float = 0.0, last: float = 1.0) -> None:
        self._request, self._first, self._last = request, first, last
        self._histograms: dict[int, Histogram] = {}  # one per thread
        self._logits: list[Floats] = []

    @property
    def histogram(self) -> Histogram:
        """The histogram of all difficulties that were added."""
        found = [*self._histograms.values()] or [Histogram(self._first, self._last)]
        return functools.reduce(operator.add, found)

    def add(self, logits: Floats) -> None:
        """Adds the logits [N, K] of some pixels."""
        logit = difficulty_logit(logits)
        if self._request.heavy_ratio is not None:
            self._logits.append(logit)
            return
        difficulty = sigmoid(logit)
        histogram = self._histograms.get(get_ident())
        if histogram is None:
            histogram = self._histograms[get_ident()] = Histogram(self._first, self._last)
        add_to_histogram(difficulty, histogram.table, self._first, self._last)
        histogram.widen(difficulty)

    def rule(self, cost: Floats) -> Rule:
        """Makes the rule that routes all pixels that were added."""
        if self._request.heavy_ratio is not None:
            return ratio_rule(cost, np.concatenate(self._logits), self._request.heavy_ratio)
        return adaptive_rule(cost, self.histogram)


def rule_of(
    request: RoutingRequest,
    cost: Floats,
    classify: Callable[[Collector], None],
    watch: Stopwatch,
) -> Rule:
    """Makes the rule of ADM or of a heavy_ratio; `classify` adds the logits of all pixels, and is
    called twice where a second histogram tells more.
    """
    statistics = Statistics(request)
    classify(statistics)
    with watch.stage("routing"):
        histogram = statistics.histogram
    if histogram.is_coarse:
        statistics = Statistics(request, histogram.low, histogram.high)
        classify(statistics)
    with watch.stage("routing"):
        return statistics.rule(cost)


class Ranks:
    """Counts the logits of difficulty by half of their bits, see `RankCounts`."""

    def __init__(self, upper: int | None) -> None:
        self._upper = upper
        self._counts: dict[int, RankCounts] = {}  # one per thread

    @property
    def counts(self) -> RankCounts:
        """The counts of all pixels that were added."""
        return functools.reduce(operator.add, self._counts.values(), RankCounts(self._upper))

    def add(self, logits: Floats) -> None:
        """Adds the logits [N, K] of some pixels."""
        counts = self._counts.setdefault(get_ident(), RankCounts(self._upper))
        counts.add(difficulty_logit(logits))
