"""Routing in torch operations: what the fused kernels are compared with, and what runs where there
is no Triton. The rules are those of `pcsr.runtime.routing`, which holds the reasons.
"""

import numpy as np
import torch
from torch import Tensor

from pcsr.runtime.routing.adaptive import BINS, Histogram, adaptive_thresholds
from pcsr.runtime.routing.rule import heavy_count

from .passes import Decision


def difficulty_logit(logits: Tensor) -> Tensor:
    """Gives the logit [N] of the heavier half of the upsamplers, from [K, N] float32 logits,
    heaviest first.
    """
    if logits.shape[0] == 1:
        return logits[0]
    heavy = heavy_count(logits.shape[0])
    return logits[:heavy].logsumexp(0) - logits[heavy:].logsumexp(0)


def assign(logits: Tensor, decision: Decision) -> tuple[Tensor, Tensor]:
    """Gives labels [N] uint8 and difficulty [N] float32 of logits [K, N]."""
    logit = difficulty_logit(logits)
    difficulty = logit.sigmoid()
    if decision.by == "bounds":
        labels = (difficulty[None] < decision.bounds[:, None]).sum(0)
    elif decision.by == "penalty":
        labels = _lightest_best(logits - decision.penalty[:, None])
    elif logits.shape[0] == 1:
        labels = ~(logit > decision.cut)
    else:
        heavy = heavy_count(logits.shape[0])
        lighter = _lightest_best(logits[heavy:]) + heavy
        labels = torch.where(logit > decision.cut, _lightest_best(logits[:heavy]), lighter)
    return labels.to(torch.uint8), difficulty


def _lightest_best(utility: Tensor) -> Tensor:
    return utility.shape[0] - 1 - utility.flip(0).argmax(0)


def ratio_cut(logit: Tensor, above: int) -> Tensor:
    """Gives the logit [1] that so many of [N] values lie above."""
    count = logit.shape[0]
    if above == count:
        return logit.new_full((1,), -torch.inf)
    return logit.kthvalue(count - above).values[None]


def adaptive_bounds(difficulty: Tensor, clusters: int) -> Tensor:
    """Gives ADM's thresholds [M - 1] float32 of difficulties [N], hardest first: a label is the
    number of thresholds that a difficulty lies below. They are infinite for a flat image, and
    where a difficulty is not a number.

    The histogram is made on the device, Lloyd's algorithm runs on the host.
    """
    low, high = torch.stack(difficulty.aminmax()).tolist()
    if not low < high:
        return difficulty.new_full((clusters - 1,), torch.inf)
    index = ((difficulty - low) * (BINS / max(high - low, 1e-30))).clamp(0, BINS - 1).long()
    counts = index.new_zeros(BINS).scatter_add_(0, index, torch.ones_like(index)).cpu().numpy()
    centres = low + (np.arange(BINS) + 0.5) * ((high - low) / BINS)
    table = np.stack([counts, counts * centres], axis=1).astype(np.float64)
    thresholds = adaptive_thresholds(Histogram(low, high, table, low, high), clusters)[1]
    bounds = torch.tensor(thresholds, dtype=torch.float64, device="cpu")
    return _not_below(bounds).to(difficulty.device)


def _not_below(bounds: Tensor) -> Tensor:
    """Gives the least float32 values that are not below these float64 ones."""
    rounded = bounds.float()
    up = torch.nextafter(rounded, torch.full_like(rounded, torch.inf))
    return torch.where(rounded.double() < bounds, up, rounded)
