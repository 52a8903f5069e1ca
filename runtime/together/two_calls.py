"""A shared rule on backends that route image by image: one call for the difficulties of all
pixels, and one with the k that has the rule's threshold.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError
from pcsr.runtime.open import OpenBundle
from pcsr.runtime.result import Result
from pcsr.runtime.routing.adaptive import Histogram
from pcsr.runtime.routing.request import LARGEST_K, RoutingRequest
from pcsr.runtime.routing.rule import adaptive_rule, ratio_threshold

Floats = NDArray[np.float32]
BEYOND = 1000.0  # no logit lies there
SATURATED = 25 * math.log(2)  # the least logit whose difficulty is 1 in float32


def upscale_in_two_calls(
    opened: OpenBundle, pixels: NDArray[Any], scale: float, request: RoutingRequest
) -> Result:
    """Upscales a batch [N, h, w, 3] by a completed request that needs statistics, with M = 2.

    Raises:
        UsageError: more upsamplers, or two whose costs are too near for a k to tell them apart.
    """
    bundle = opened.planner.bundle
    if bundle.upsamplers != 2:
        raise UsageError(
            f"{bundle.path} has {bundle.upsamplers} upsamplers, whose statistics over several "
            "images only the native backend shares; open it with device cpu and backend native"
        )
    cost = bundle.manifest.costs.cost_table(scale)
    weight = math.log(float(cost[0]) / float(cost[1]))
    if LARGEST_K * abs(weight) < BEYOND:
        raise UsageError(
            f"the upsamplers of {bundle.path} cost the same, so that no k has the threshold of "
            "several images; open it with device cpu and backend native"
        )
    light = RoutingRequest(k=BEYOND / weight, refine=False)
    found = opened.upscaled(pixels, scale, light).difficulty
    assert found is not None
    k = _cut(np.asarray(found).ravel(), cost, request) / weight
    return opened.upscaled(pixels, scale, RoutingRequest(k=k, refine=request.refine))


def _cut(difficulty: Floats, cost: Floats, request: RoutingRequest) -> float:
    """Finds a logit between the hardest light pixel and the easiest heavy one."""
    heavy = _heavy(difficulty, cost, request)
    lower = _logit(float(difficulty[~heavy].max())) if not heavy.all() else -BEYOND
    upper = _logit(float(difficulty[heavy].min())) if heavy.any() else BEYOND
    return (lower + upper) / 2 if abs(lower) < BEYOND > abs(upper) else lower + upper


def _heavy(difficulty: Floats, cost: Floats, request: RoutingRequest) -> NDArray[np.bool_]:
    """Tells which pixels are heavy, by the difficulties [n] of all."""
    if request.heavy_ratio is not None:
        return np.asarray(difficulty > ratio_threshold(difficulty, request.heavy_ratio))
    histogram = Histogram.fine(difficulty)
    return np.asarray(difficulty >= adaptive_rule(cost, histogram).of_two.bound)


def _logit(difficulty: float) -> float:
    if difficulty in (0, 1):
        return -BEYOND / 2 if difficulty == 0 else SATURATED
    return math.log(difficulty / (1 - difficulty))
