"""Routing in torch operations, without a word to the host: what the fused kernels are compared
with, and what runs where there is no Triton.

The same rules as `runtime.routing` and `runtime.adaptive`, which hold the reasons.
"""

import torch
from torch import Tensor

from pcsr.runtime.routing.adaptive import ITERATIONS, TOLERANCE
from pcsr.runtime.routing.rule import heavy_count

BINS = 2**16


def difficulty_logit(logits: Tensor) -> Tensor:
    """[K, N] float32 logits, heaviest first -> [N], that of the heavier half of the upsamplers."""
    if logits.shape[0] == 1:
        return logits[0]
    heavy = heavy_count(logits.shape[0])
    return logits[:heavy].logsumexp(0) - logits[heavy:].logsumexp(0)


def assign(
    logits: Tensor, penalty: Tensor, cut: Tensor | None, bounds: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Labels [N] uint8 and difficulty [N] float32 of logits [K, N].

    penalty: [M] k * ln(cost). cut: [1] difficulty logit above which a pixel is of the heavier half.
    bounds: [M - 1] difficulties, hardest first. Without both, M > 2 compares utilities.
    """
    logit = difficulty_logit(logits)
    difficulty = logit.sigmoid()
    if bounds is not None:
        labels = (difficulty[None] < bounds[:, None]).sum(0)
    elif logits.shape[0] == 1:
        assert cut is not None
        labels = ~(logit > cut)
    else:
        labels = _cheapest_best(logits - penalty[:, None], logit, cut)
    return labels.to(torch.uint8), difficulty


def _cheapest_best(utility: Tensor, logit: Tensor, cut: Tensor | None) -> Tensor:
    if cut is None:
        return _lightest_best(utility)
    heavy = heavy_count(utility.shape[0])
    lighter = _lightest_best(utility[heavy:]) + heavy
    return torch.where(logit > cut, _lightest_best(utility[:heavy]), lighter)


def _lightest_best(utility: Tensor) -> Tensor:
    return utility.shape[0] - 1 - utility.flip(0).argmax(0)


def ratio_cut(logit: Tensor, above: int) -> Tensor:
    """[1]: the logit that so many of [N] values lie above."""
    count = logit.shape[0]
    if above == count:
        return logit.new_full((1,), -torch.inf)
    return logit.kthvalue(count - above).values[None]


def adaptive_bounds(difficulty: Tensor, clusters: int) -> Tensor:
    """ADM's thresholds [M - 1] float32 of difficulties [N], hardest first: labels are the number of
    thresholds that a difficulty lies below. Infinite for a flat image.
    """
    low, high = (extreme.double() for extreme in difficulty.aminmax())
    span = high - low
    place = (difficulty - low) * (BINS / span.clamp_min(1e-30))
    index = place.clamp(0, BINS - 1).long()
    counts = torch.zeros(BINS, dtype=torch.int64, device=difficulty.device)
    counts.scatter_add_(0, index, torch.ones_like(index))
    cuts = _lloyd(counts, clusters)
    bounds = _not_below(low + cuts * span)
    return torch.where(span > 0, bounds, torch.inf)


def _lloyd(counts: Tensor, clusters: int) -> Tensor:
    """Thresholds [M - 1] float64 on values normalised to [0, 1], in equal bins of these counts."""
    members = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).double()
    centres = (torch.arange(BINS, device=counts.device, dtype=torch.float64) + 0.5) / BINS
    totals = torch.cat([centres.new_zeros(1), (counts * centres).cumsum(0)])
    if clusters == 2:
        centroids = torch.stack([totals[-1] / members[-1], totals.new_zeros(())])
    else:
        centroids = torch.linspace(1, 0, clusters, device=counts.device, dtype=torch.float64)
    cuts = (centroids[:-1] + centroids[1:]) / 2
    done = torch.zeros((), dtype=torch.bool, device=counts.device)
    for _ in range(ITERATIONS - 1):
        cuts = torch.where(done, cuts, (centroids[:-1] + centroids[1:]) / 2)
        updated = _means(counts, members, totals, cuts, centroids)
        shift = (updated - centroids).square().sum()
        centroids = torch.where(done, centroids, updated)
        done = done | (shift <= TOLERANCE)
    return cuts


def _means(
    counts: Tensor, members: Tensor, totals: Tensor, cuts: Tensor, centroids: Tensor
) -> Tensor:
    place = cuts * BINS
    index = place.clamp(0, BINS - 1).long()
    share = (place - index).clamp(0, 1)
    inside = share * counts[index]
    below = members[index] + inside
    sums = totals[index] + inside * (index + share / 2) / BINS
    below = torch.cat([members[-1:], below, below.new_zeros(1)])
    sums = torch.cat([totals[-1:], sums, sums.new_zeros(1)])
    size, total = below[:-1] - below[1:], sums[:-1] - sums[1:]
    return torch.where(size > 0, total / size.clamp_min(1e-30), centroids)


def _not_below(bounds: Tensor) -> Tensor:
    """The least float32 values that are not below these float64 ones."""
    rounded = bounds.float()
    up = torch.nextafter(rounded, torch.full_like(rounded, torch.inf))
    return torch.where(rounded.double() < bounds, up, rounded)
