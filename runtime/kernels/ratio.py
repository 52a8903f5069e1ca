"""A share of heavy pixels on the device: the exact logit that so many values lie above."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pcsr.manifest import classifier_outputs

from .histogram import (
    BINS,
    COPIES,
    add_to_table,
    chunk_counts,
    chunks,
    count_pixels,
    empty_tables,
    is_last,
)
from .launch import expect, expect_band
from .route import difficulty_logit, key_of, of_key


@triton.jit
def digits_kernel(
    logits,
    chosen,
    table,
    pixels,
    UPSAMPLERS: tl.constexpr,
    LOWER: tl.constexpr,
    BINS: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Counts the upper 16 bits of the difficulty logits' keys, or the lower ones of those whose
    upper ones are `chosen`. Keys are int32 in the order of the values.
    """
    for index in range(tl.program_id(0), tl.cdiv(pixels, BLOCK), tl.num_programs(0)):
        pixel = index * BLOCK + tl.arange(0, BLOCK)
        mask = pixel < pixels
        logit, _ = difficulty_logit(logits, pixel, mask, pixels, UPSAMPLERS)
        key = key_of(logit)
        digit = (key >> 16) + BINS // 2
        if LOWER:
            mask = mask & (digit == tl.load(chosen).to(tl.int32))
            digit = key & (BINS - 1)
        add_to_table(table, digit, mask, BINS, COPIES)


@triton.jit
def _place(counts, rank):
    """Gives the place of the value of that rank, and its rank among those of the same place."""
    passed = tl.cumsum(counts, axis=0) <= rank
    return tl.sum(passed.to(tl.int32), axis=0), rank - tl.sum(tl.where(passed, counts, 0), axis=0)


@triton.jit(do_not_specialize=["pixels"])
def rank_kernel(
    table,
    totals,
    above,
    chosen,
    out,
    pixels,
    LOWER: tl.constexpr,
    SPAN: tl.constexpr,
    BINS: tl.constexpr,
    COPIES: tl.constexpr,
):
    """Sums up SPAN bins; the last program finds the digit of the value of the wanted rank.

    totals: [chunks] int64, their counts. chosen: [2] int64, the upper digit and the rank among the
    values that have it. out: the value, written behind the lower one.
    """
    _, counts = chunk_counts(table, SPAN, BINS, COPIES)
    tl.store(totals + tl.program_id(0), tl.sum(counts.to(tl.int64), axis=0))
    if is_last(table, BINS, COPIES):
        wanted = pixels - 1 - tl.load(above)
        rank = tl.load(chosen + 1) if LOWER else tl.maximum(wanted, 0)
        chunk, rank = _place(tl.load(totals + tl.arange(0, BINS // SPAN)), rank)
        inside = tl.load(table + chunk * SPAN + tl.arange(0, SPAN)).to(tl.int64)
        place, rank = _place(inside, rank)
        digit = chunk * SPAN + place
        if LOWER:
            key = (tl.load(chosen).to(tl.int32) - BINS // 2) * BINS + digit
            tl.store(out, tl.where(wanted < 0, float("-inf"), of_key(key)))
        else:
            tl.store(chosen, digit.to(tl.int64))
            tl.store(chosen + 1, rank)


def ratio_cut(logits: Tensor, upsamplers: int, above: Tensor, out: Tensor) -> None:
    """Writes the difficulty logit [1] float32 that so many of all lie above (fewer where some are
    level with it), as `ratio_threshold`; -infinity where all do. It is a radix selection by two
    digits.

    Args:
        logits: [K, N] float32, of `dense`.
        upsamplers: M > 1.
        above: [1] int64, at most N; on the device, so that a recorded frame takes another one.
        out: [1] float32.
    """
    pixels, count = logits.shape[-1], chunks()
    expect_band(1, pixels)
    expect("logits", logits, torch.float32, (classifier_outputs(upsamplers), pixels))
    expect("above", above, torch.int64, (1,))
    expect("out", out, torch.float32, (1,))
    chosen = torch.empty(2, dtype=torch.int64, device=logits.device)
    totals = torch.empty(count, dtype=torch.int64, device=logits.device)
    for is_lower, table in enumerate(empty_tables(2, logits.device)):
        constants = {"LOWER": bool(is_lower), "BINS": BINS, "COPIES": COPIES}
        count_pixels(
            digits_kernel, pixels, logits, chosen, table, UPSAMPLERS=upsamplers, **constants
        )
        arguments = (table, totals, above, chosen, out, pixels)
        rank_kernel[(count,)](*arguments, **constants, SPAN=BINS // count, num_warps=1)
