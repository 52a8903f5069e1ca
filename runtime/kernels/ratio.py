"""A share of heavy pixels on the device: the exact logit that so many values lie above."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .histogram import BINS, COPIES, add_to_table, empty_table
from .launch import expect, expect_band, over

_SIGN = tl.constexpr(0x7FFFFFFF)


@triton.jit(do_not_specialize=["count"])
def digits_kernel(
    values,
    chosen,
    table,
    count,
    LOWER: tl.constexpr,
    BINS: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Counts the upper 16 bits of the values' keys, or the lower ones of those whose upper ones are
    `chosen`. Keys are int32 in the order of the values.
    """
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = place < count
    bits = tl.load(values + place, mask=mask, other=0.0).to(tl.int32, bitcast=True)
    key = tl.where(bits < 0, bits ^ _SIGN, bits)
    upper = (key >> 16) + BINS // 2
    if LOWER:
        mask = mask & (upper == tl.load(chosen).to(tl.int32))
        upper = key & (BINS - 1)
    add_to_table(table, upper, mask, BINS, COPIES)


def select(values: Tensor, above: Tensor) -> Tensor:
    """Gives the value [1] float32 that so many of all lie above (fewer where some are level with
    it), as `ratio_threshold`; -infinity where all do. It is a radix selection by two digits.

    Args:
        values: [N] float32, the difficulty logits of an image.
        above: [1] int64, at most N; on the device, so that a recorded frame takes another one.
    """
    expect("above", above, torch.int64, (1,))
    expect("values", values, torch.float32, (len(values),))
    expect_band(1, len(values))
    wanted = len(values) - 1 - above
    rank = wanted.clamp_min(0)
    upper, rank = _digit(values, rank, rank, False)
    lower, _ = _digit(values, upper, rank, True)
    key = ((upper - BINS // 2) * BINS + lower).to(torch.int32)
    bits = torch.where(key < 0, key ^ 0x7FFFFFFF, key)
    return torch.where(wanted < 0, -torch.inf, bits.view(torch.float32))


def _digit(values: Tensor, chosen: Tensor, rank: Tensor, is_lower: bool) -> tuple[Tensor, Tensor]:
    """Gives the digit [1] of the value of that rank, and its rank among those with this digit."""
    table, size = empty_table(rank.device), len(values)
    constants = {"LOWER": is_lower, "BINS": BINS, "COPIES": COPIES}
    over(digits_kernel, size, values, chosen, table, size, **constants)
    counts = table.sum(dim=0, dtype=torch.int64)
    passed = torch.cumsum(counts, dim=0) <= rank
    return passed.sum(dim=0, keepdim=True), rank - (counts * passed).sum(dim=0, keepdim=True)
