"""Counting values into 2^16 bins on the device."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BINS = 2**16
COPIES = 8  # of a table: programs that hit the same bin at once wait for each other


def empty_table(device: torch.device | str) -> Tensor:
    """[COPIES, BINS] int32 zeros; its counts are the sum over the copies."""
    return torch.zeros((COPIES, BINS), dtype=torch.int32, device=device)


@triton.jit
def add_to_table(table, place, mask, BINS: tl.constexpr, COPIES: tl.constexpr):
    """Counts the values of a program, by bin; a single addition where all are in the same bin, as
    in flat images.
    """
    own = table + (tl.program_id(0) % COPIES) * BINS
    least = tl.min(tl.where(mask, place, BINS), axis=0)
    most = tl.max(tl.where(mask, place, -1), axis=0)
    if least < most:
        tl.atomic_add(own + place, mask.to(tl.int32), mask=mask, sem="relaxed")
    else:
        members = tl.sum(mask.to(tl.int32), axis=0)
        tl.atomic_add(own + least, members, mask=members > 0, sem="relaxed")
