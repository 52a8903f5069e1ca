"""Values are counted in 2^16 bins on the device."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import expect, expect_band, over

BINS = 2**16
COPIES = 8  # of a table: programs that hit the same bin at once wait for each other


def empty_table(device: torch.device | str) -> Tensor:
    """Makes a table [COPIES, BINS] int32 of zeros. Its counts are the sum over the copies."""
    return torch.zeros((COPIES, BINS), dtype=torch.int32, device=device)


@triton.jit
def add_to_table(table, place, mask, BINS: tl.constexpr, COPIES: tl.constexpr):
    """Counts the values of a program, by bin: table[c, place] += 1 in one of the copies c. It is a
    single addition where all are in the same bin, as in flat images.
    """
    own = table + (tl.program_id(0) % COPIES) * BINS
    least = tl.min(tl.where(mask, place, BINS), axis=0)
    most = tl.max(tl.where(mask, place, -1), axis=0)
    if least < most:
        tl.atomic_add(own + place, mask.to(tl.int32), mask=mask, sem="relaxed")
    else:
        members = tl.sum(mask.to(tl.int32), axis=0)
        tl.atomic_add(own + least, members, mask=members > 0, sem="relaxed")


@triton.jit(do_not_specialize=["pixels"])
def histogram_kernel(
    difficulty,
    low,
    high,
    table,
    pixels,
    BINS: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Counts BLOCK pixels: bin = clamp((difficulty - low) / (high - low) * BINS, 0, BINS - 1)."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = pixel < pixels
    value = tl.load(difficulty + pixel, mask=mask, other=0.0)
    first = tl.load(low)
    place = (value - first) / (tl.load(high) - first) * BINS
    place = tl.where(place > 0, place, 0.0)  # a NaN too, as in a flat image
    place = tl.where(place < BINS, place, BINS - 1.0)
    add_to_table(table, place.to(tl.int32), mask, BINS, COPIES)


def histogram(difficulty: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Counts difficulties in bins of equal width from `low` to `high`: gives a table of
    `empty_table`.

    Args:
        difficulty: [N] float32.
        low, high: [] float32, the extremes.
    """
    pixels = len(difficulty)
    expect_band(1, pixels)
    expect("difficulty", difficulty, torch.float32, (pixels,))
    expect("low", low, torch.float32, ())
    expect("high", high, torch.float32, ())
    table = empty_table(difficulty.device)
    over(histogram_kernel, pixels, difficulty, low, high, table, pixels, BINS=BINS, COPIES=COPIES)
    return table
