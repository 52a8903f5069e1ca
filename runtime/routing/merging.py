"""Makes the rule of an image from passes over its parts, which may lie on different machines: each
pass counts something of every part, and the sums of the counts are what the whole image gives.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError
from pcsr.runtime.inputs.arguments import shown

from .adaptive import Histogram
from .ranking import RankCounts, logit_of
from .request import RoutingRequest
from .rule import Rule, adaptive_rule, fixed_rule

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Counted:
    """What a pass counts: the logits of difficulty by half of their bits, or the difficulties in
    bins of equal width from `first` to `last`.
    """

    logits: bool
    first: float = 0.0
    last: float = 1.0
    upper: int | None = None
    """See `RankCounts`."""


Counts = Histogram | RankCounts
"""What a pass found in one part, or in all of them: the parts' may be added."""
Pass = Callable[[Counted], Counts]
"""Counts over all parts of an image, and returns the sum."""


def merged_rule(cost: Floats, request: RoutingRequest, pixels: int, run: Pass) -> Rule:
    """Makes the rule that a request has for an image of so many output pixels. `run` is called for
    each pass that it needs: none for k, one or two for ADM, two for heavy_ratio.

    The request is complete and names no preset or budget; see `Planner.resolve`.
    """
    if not request.needs_statistics or len(cost) == 1:
        return fixed_rule(cost, request.cost_weight)
    if request.heavy_ratio is not None:
        return Rule(cost, 0.0, cut=_cut(request.heavy_ratio, pixels, run))
    histogram = _histogram(run(Counted(logits=False)))
    if histogram.is_coarse:
        histogram = _histogram(run(Counted(False, histogram.low, histogram.high)))
    return adaptive_rule(cost, histogram)


def _cut(ratio: float, pixels: int, run: Pass) -> np.float32:
    """Finds the logit that round(ratio * pixels) lie above, as `rule.ratio_threshold` does."""
    above = round(ratio * pixels)
    if above == pixels:
        return np.float32(-np.inf)
    upper, rank = _ranks(run(Counted(logits=True))).place(pixels - above - 1)
    lower, _ = _ranks(run(Counted(logits=True, upper=upper))).place(rank)
    return logit_of(upper, lower)


def _histogram(counts: Counts) -> Histogram:
    if not isinstance(counts, Histogram):
        raise _of_another_kind(counts)
    return counts


def _ranks(counts: Counts) -> RankCounts:
    if not isinstance(counts, RankCounts):
        raise _of_another_kind(counts)
    return counts


def _of_another_kind(counts: object) -> UsageError:
    return UsageError(f"run must return the sum of all parts' counts, found {shown(counts)}")
