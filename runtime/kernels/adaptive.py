"""Adaptive decision making (paper section 3.3) on the device: an image's difficulties, and Lloyd's
algorithm on their histogram.

It is `pcsr.runtime.routing.adaptive` with bins from the least to the largest difficulty, whose
values all count as their centre: they are off by 1/131072 of that range at most.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pcsr.manifest import classifier_outputs
from pcsr.runtime.routing.adaptive import ITERATIONS, TOLERANCE

from .histogram import BINS, COPIES
from .launch import expect, expect_band, over
from .route import difficulty_logit, sigmoid


@triton.jit(do_not_specialize=["pixels"])
def difficulties_kernel(
    logits, out, pixels, UPSAMPLERS: tl.constexpr, AS_LOGIT: tl.constexpr, BLOCK: tl.constexpr
):
    """Writes the difficulty of BLOCK pixels: logsumexp(heavier logits) - logsumexp(lighter ones),
    AS_LOGIT or through the sigmoid.
    """
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = pixel < pixels
    logit, _ = difficulty_logit(logits, pixel, mask, pixels, UPSAMPLERS)
    if AS_LOGIT:
        tl.store(out + pixel, logit, mask=mask)
    else:
        tl.store(out + pixel, sigmoid(logit), mask=mask)


def difficulties(logits: Tensor, upsamplers: int, out: Tensor, as_logit: bool = False) -> None:
    """Writes the probability of the heavier half of the upsamplers, or its logit, bit for bit as
    `route` has them.

    Args:
        logits: [K, N] float32, of `dense`.
        upsamplers: M.
        out: [N] float32.
    """
    pixels = logits.shape[-1]
    expect_band(1, pixels)
    expect("logits", logits, torch.float32, (classifier_outputs(upsamplers), pixels))
    expect("out", out, torch.float32, (pixels,))
    constants = {"UPSAMPLERS": upsamplers, "AS_LOGIT": as_logit}
    over(difficulties_kernel, pixels, logits, out, pixels, **constants)


@triton.jit
def _below_cut(below, weighted, cuts, BINS: tl.constexpr):
    """Counts and sums (in bins) all values below each cut (0 to 1): inside its bin they count as
    evenly spread.
    """
    place = cuts * BINS
    place = tl.where(place > 0, place, 0.0)
    bin = tl.where(place < BINS, place, BINS - 1.0).to(tl.int32)
    start = tl.load(below + bin)
    here = (tl.load(below + bin + 1) - start).to(tl.float64)
    share = place - bin.to(tl.float64)
    share = tl.where(share < 1.0, share, 1.0)
    share = tl.where(here == 1, (share > 0.5).to(tl.float64), share)
    centre = bin.to(tl.float64) + 0.5 - (1.0 - share) * 0.5
    count = start.to(tl.float64) + share * here
    total = tl.load(weighted + bin).to(tl.float64) + 0.5 * start.to(tl.float64)
    return count, total + share * here * centre


@triton.jit
def _moved(values, index, BY: tl.constexpr):
    """Gives values[i + BY] at i, 0 beyond the ends."""
    is_source = index[None, :] == index[:, None] + BY
    return tl.sum(tl.where(is_source, values[None, :], 0.0), axis=1)


@triton.jit
def lloyd_kernel(
    below,
    weighted,
    low,
    high,
    bounds,
    CLUSTERS: tl.constexpr,
    SIZE: tl.constexpr,
    BINS: tl.constexpr,
    UPDATES: tl.constexpr,
    TOLERANCE: tl.constexpr,
):
    """Runs Lloyd's algorithm in one program: cut_i = (centroid_i + centroid_i+1) / 2, centroid_i =
    mean of the values between cuts i - 1 and i, until the centroids move by no more than TOLERANCE
    (sum of squares). Centroids and cuts are normalised to [0, 1].

    below, weighted: [BINS + 1] int64, the counts of the bins before each, and counts times bin.
    """
    index = tl.arange(0, SIZE)
    members = tl.load(below + BINS).to(tl.float64)
    total = tl.load(weighted + BINS).to(tl.float64) + 0.5 * members
    if CLUSTERS == 2:
        mean = total / members / BINS
        centroids = tl.where(index == 0, mean, 0.0)
    else:
        start = 1.0 - index.to(tl.float64) / (CLUSTERS - 1)
        centroids = tl.where(index < CLUSTERS, start, 0.0)
    cuts = tl.zeros_like(centroids)
    step = 0
    shift = members * 0.0 + 1.0
    while (step < UPDATES) & (shift > TOLERANCE):
        cuts = (centroids + _moved(centroids, index, 1)) * 0.5
        count, weight = _below_cut(below, weighted, cuts, BINS)
        count = tl.where(index < CLUSTERS - 1, count, 0.0)
        weight = tl.where(index < CLUSTERS - 1, weight, 0.0)
        own = tl.where(index == 0, members, _moved(count, index, -1)) - count
        own_weight = tl.where(index == 0, total, _moved(weight, index, -1)) - weight
        mean_bin = own_weight / tl.where(own > 0, own, 1.0)
        updated = tl.where(own > 0, mean_bin / BINS, centroids)
        shift = tl.sum((updated - centroids) * (updated - centroids), axis=0)
        centroids = updated
        step += 1
    first, last = tl.load(low), tl.load(high)
    span = last.to(tl.float64) - first.to(tl.float64)
    bound = first.to(tl.float64) + cuts * span
    rounded = bound.to(tl.float32)
    above = (rounded.to(tl.int32, bitcast=True) + 1).to(tl.float32, bitcast=True)
    rounded = tl.where(rounded.to(tl.float64) < bound, above, rounded)
    rounded = tl.where(first == last, float("inf"), rounded)
    tl.store(bounds + index, rounded, mask=index < CLUSTERS - 1)


def lloyd(table: Tensor, low: Tensor, high: Tensor, clusters: int) -> Tensor:
    """Gives ADM's thresholds of difficulty [M - 1] float32, hardest first, each the least float32
    that is not below the exact one; infinite where low is high (a flat image is all light).

    Args:
        table: [COPIES, BINS] int32 of `histogram`.
        low, high: [] float32, as given to `histogram`.
        clusters: M > 1.
    """
    expect("table", table, torch.int32, (COPIES, BINS))
    expect("low", low, torch.float32, ())
    expect("high", high, torch.float32, ())
    counts = table.sum(dim=0, dtype=torch.int64)
    bins = torch.arange(BINS, device=table.device)
    sums = torch.zeros((2, BINS + 1), dtype=torch.int64, device=table.device)
    sums[:, 1:] = torch.cumsum(torch.stack([counts, counts * bins]), dim=1)
    bounds = torch.empty(clusters - 1, dtype=torch.float32, device=table.device)
    lloyd_kernel[(1,)](
        sums[0],
        sums[1],
        low,
        high,
        bounds,
        CLUSTERS=clusters,
        SIZE=triton.next_power_of_2(clusters),
        BINS=BINS,
        UPDATES=ITERATIONS - 1,
        TOLERANCE=TOLERANCE,
        num_warps=1,
    )
    return bounds
