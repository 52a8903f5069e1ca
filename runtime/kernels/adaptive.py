"""Adaptive decision making (paper section 3.3) on the device: Lloyd's algorithm on a histogram of
an image's difficulties.

It is `pcsr.runtime.routing.adaptive` with bins from the least to the largest difficulty, whose
values all count as their centre: they are off by 1/131072 of that range at most. The logits are
read twice, for the extremes and for the counts; nothing else of the size of the image is.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pcsr.manifest import classifier_outputs
from pcsr.runtime.routing.adaptive import ITERATIONS, TOLERANCE

from .histogram import (
    BINS,
    COPIES,
    TABLE,
    add_to_table,
    chunk_counts,
    chunks,
    count_pixels,
    is_last,
    programs,
)
from .launch import block, expect, expect_band
from .route import difficulty_logit, key_of, of_key, sigmoid
from .tiles import Work, run_fastest

FORMS = IN_MEMORY, IN_SHARED_MEMORY = ("sums in memory", "sums in shared memory")
PARTS = 512  # programs that look for the extremes
PART_BLOCK = 4096  # pixels at a time of one of them


@triton.jit
def extremes_kernel(
    logits,
    extremes,
    table,
    pixels,
    UPSAMPLERS: tl.constexpr,
    TABLE: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Finds the extremes [2, PARTS] int32 of the difficulty logits that each of PARTS programs
    sees, as keys, and clears the table. One of them is that of a NaN where there is any.
    """
    part = tl.program_id(0)
    place = tl.arange(0, BLOCK)
    for start in range(part * BLOCK, TABLE, PARTS * BLOCK):
        tl.store(table + start + place, tl.zeros_like(place), mask=start + place < TABLE)
    least = tl.full((BLOCK,), 0x7FFFFFFF, tl.int32)
    most = ~least
    for index in range(part, tl.cdiv(pixels, BLOCK), PARTS):
        pixel = index * BLOCK + place
        mask = pixel < pixels
        logit, _ = difficulty_logit(logits, pixel, mask, pixels, UPSAMPLERS)
        key = key_of(logit)
        least = tl.minimum(least, tl.where(mask, key, 0x7FFFFFFF))
        most = tl.maximum(most, tl.where(mask, key, ~0x7FFFFFFF))
    tl.store(extremes + part, tl.min(least, axis=0))
    tl.store(extremes + PARTS + part, tl.max(most, axis=0))


@triton.jit
def _extremes(extremes, PARTS: tl.constexpr):
    """Gives the least and the largest difficulty of all parts."""
    part = tl.arange(0, PARTS)
    least = tl.min(tl.load(extremes + part), axis=0)
    most = tl.max(tl.load(extremes + PARTS + part), axis=0)
    return sigmoid(of_key(least)), sigmoid(of_key(most))


@triton.jit
def histogram_kernel(
    logits,
    extremes,
    table,
    pixels,
    UPSAMPLERS: tl.constexpr,
    PARTS: tl.constexpr,
    BINS: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Counts pixels: bin = clamp((difficulty - low) / (high - low) * BINS, 0, BINS - 1)."""
    low, high = _extremes(extremes, PARTS)
    inverse = 1.0 / (high - low)
    for index in range(tl.program_id(0), tl.cdiv(pixels, BLOCK), tl.num_programs(0)):
        pixel = index * BLOCK + tl.arange(0, BLOCK)
        mask = pixel < pixels
        logit, _ = difficulty_logit(logits, pixel, mask, pixels, UPSAMPLERS)
        place = (sigmoid(logit) - low) * inverse * BINS
        place = tl.where(place > 0, place, 0.0)  # a NaN too, as in a flat image
        place = tl.where(place < BINS, place, BINS - 1.0)
        add_to_table(table, place.to(tl.int32), mask, BINS, COPIES)


@triton.jit
def _below_cut(sums, cuts, SPAN: tl.constexpr, BINS: tl.constexpr):
    """Counts and sums (in bins) all values below each cut (0 to 1): inside its bin they count as
    evenly spread.
    """
    table, below, weighted, totals = sums
    place = cuts * BINS
    place = tl.where(place > 0, place, 0.0)
    bin = tl.where(place < BINS, place, BINS - 1.0).to(tl.int32)
    chunk = bin // SPAN
    start = (tl.load(totals + chunk) + tl.load(below + bin)).to(tl.float64)
    weight = tl.load(totals + BINS // SPAN + chunk) + tl.load(weighted + bin)
    here = tl.load(table + bin).to(tl.float64)
    share = place - bin.to(tl.float64)
    share = tl.where(share < 1.0, share, 1.0)
    share = tl.where(here == 1, (share > 0.5).to(tl.float64), share)
    centre = bin.to(tl.float64) + 0.5 - (1.0 - share) * 0.5
    total = weight.to(tl.float64) + 0.5 * start
    return start + share * here, total + share * here * centre


@triton.jit
def _moved(values, index, BY: tl.constexpr):
    """Gives values[i + BY] at i, 0 beyond the ends."""
    is_source = index[None, :] == index[:, None] + BY
    return tl.sum(tl.where(is_source, values[None, :], 0.0), axis=1)


@triton.jit
def _lloyd(
    sums,
    members,
    total,
    CLUSTERS: tl.constexpr,
    SIZE: tl.constexpr,
    SPAN: tl.constexpr,
    BINS: tl.constexpr,
    UPDATES: tl.constexpr,
    TOLERANCE: tl.constexpr,
):
    """Runs Lloyd's algorithm: cut_i = (centroid_i + centroid_i+1) / 2, centroid_i = mean of the
    values between cuts i - 1 and i, until the centroids move by no more than TOLERANCE (sum of
    squares). Gives the cuts; they and the centroids are normalised to [0, 1].

    members, total: the count of all values, and their sum in bins.
    """
    index = tl.arange(0, SIZE)
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
        count, weight = _below_cut(sums, cuts, SPAN, BINS)
        count = tl.where(index < CLUSTERS - 1, count, 0.0)
        weight = tl.where(index < CLUSTERS - 1, weight, 0.0)
        own = tl.where(index == 0, members, _moved(count, index, -1)) - count
        own_weight = tl.where(index == 0, total, _moved(weight, index, -1)) - weight
        mean_bin = own_weight / tl.where(own > 0, own, 1.0)
        updated = tl.where(own > 0, mean_bin / BINS, centroids)
        shift = tl.sum((updated - centroids) * (updated - centroids), axis=0)
        centroids = updated
        step += 1
    return cuts


@triton.jit
def _store_bounds(bounds, cuts, low, high, CLUSTERS: tl.constexpr, SIZE: tl.constexpr):
    """Stores the least float32 difficulties not below the cuts: infinite unless low < high."""
    index = tl.arange(0, SIZE)
    bound = low.to(tl.float64) + cuts * (high.to(tl.float64) - low.to(tl.float64))
    rounded = bound.to(tl.float32)
    above = (rounded.to(tl.int32, bitcast=True) + 1).to(tl.float32, bitcast=True)
    rounded = tl.where(rounded.to(tl.float64) < bound, above, rounded)
    rounded = tl.where(low < high, rounded, float("inf"))
    tl.store(bounds + index, rounded, mask=index < CLUSTERS - 1)


@triton.jit
def _finish_totals(totals, CHUNKS: tl.constexpr):
    """Puts in place of the chunks' sums those of the chunks before each. Gives the count of all
    values, and their sum in bins.
    """
    chunk = tl.arange(0, CHUNKS)
    counts, weights = tl.load(totals + chunk), tl.load(totals + CHUNKS + chunk)
    tl.debug_barrier()
    tl.store(totals + chunk, tl.cumsum(counts, axis=0) - counts)
    tl.store(totals + CHUNKS + chunk, tl.cumsum(weights, axis=0) - weights)
    tl.debug_barrier()
    members = tl.sum(counts, axis=0).to(tl.float64)
    return members, tl.sum(weights, axis=0).to(tl.float64) + 0.5 * members


@triton.jit
def bounds_kernel(
    extremes,
    sums,
    bounds,
    CLUSTERS: tl.constexpr,
    SIZE: tl.constexpr,
    PARTS: tl.constexpr,
    SPAN: tl.constexpr,
    BINS: tl.constexpr,
    COPIES: tl.constexpr,
    UPDATES: tl.constexpr,
    TOLERANCE: tl.constexpr,
):
    """Sums up SPAN bins; the last program goes on with those of all, and Lloyd's algorithm.

    sums: the table; [BINS] int32 and [BINS] int64, counts and counts times bin of the bins before
    each in its chunk; [2, chunks] int64, the same of whole chunks, and at last of those before.
    """
    CHUNKS: tl.constexpr = BINS // SPAN
    table, below, weighted, totals = sums
    bin, counts = chunk_counts(table, SPAN, BINS, COPIES)
    weights = counts.to(tl.int64) * bin
    tl.store(below + bin, tl.cumsum(counts, axis=0) - counts)
    tl.store(weighted + bin, tl.cumsum(weights, axis=0) - weights)
    tl.store(totals + tl.program_id(0), tl.sum(counts, axis=0).to(tl.int64))
    tl.store(totals + CHUNKS + tl.program_id(0), tl.sum(weights, axis=0))
    if is_last(table, BINS, COPIES):
        members, total = _finish_totals(totals, CHUNKS)
        cuts = _lloyd(sums, members, total, CLUSTERS, SIZE, SPAN, BINS, UPDATES, TOLERANCE)
        low, high = _extremes(extremes, PARTS)
        _store_bounds(bounds, cuts, low, high, CLUSTERS, SIZE)


def adaptive_bounds(logits: Tensor, upsamplers: int, out: Tensor) -> None:
    """Writes ADM's thresholds of difficulty, hardest first, each the least float32 that is not
    below the exact one. They are infinite where all pixels have the same difficulty (a flat image
    is all light) or one of them is not a number.

    Args:
        logits: [K, N] float32, of `dense`.
        upsamplers: M > 1.
        out: [M - 1] float32.
    """
    pixels, device = logits.shape[-1], logits.device
    expect_band(1, pixels)
    expect("logits", logits, torch.float32, (classifier_outputs(upsamplers), pixels))
    expect("out", out, torch.float32, (upsamplers - 1,))
    parts, count = programs(PARTS), chunks()
    extremes = torch.empty((2, parts), dtype=torch.int32, device=device)
    table = torch.empty(TABLE, dtype=torch.int32, device=device)
    below = torch.empty(BINS, dtype=torch.int32, device=device)
    weighted = torch.empty(BINS, dtype=torch.int64, device=device)
    totals = torch.empty((2, count), dtype=torch.int64, device=device)
    seen = {"UPSAMPLERS": upsamplers, "PARTS": parts}
    bins = {"BINS": BINS, "COPIES": COPIES}
    tile = max(PART_BLOCK, block(PART_BLOCK, pixels))

    def count_by_difficulty(form: str) -> None:
        extremes_kernel[(parts,)](
            logits, extremes, table, pixels, **seen, TABLE=TABLE, BLOCK=tile, num_warps=8
        )
        if form == IN_MEMORY:
            count_pixels(histogram_kernel, pixels, logits, extremes, table, **seen, **bins)
            return
        from .cuda.difficulty_histogram import difficulty_histogram

        difficulty_histogram(logits, upsamplers, extremes, table)

    run_fastest(Work("histogram", device, pixels, seen), FORMS, count_by_difficulty)
    bounds_kernel[(count,)](
        extremes,
        (table, below, weighted, totals),
        out,
        CLUSTERS=upsamplers,
        SIZE=triton.next_power_of_2(upsamplers),
        PARTS=parts,
        SPAN=BINS // count,
        **bins,
        UPDATES=ITERATIONS - 1,
        TOLERANCE=TOLERANCE,
        num_warps=1,
    )
