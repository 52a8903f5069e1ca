"""Values are counted in 2^16 bins on the device, by programs that loop over blocks of pixels; one
program goes on with the sums, the last one to add up its chunk of the bins.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import block, interpreted

BINS = 2**16
COPIES = 8  # of a table: programs that hit the same bin at once wait for each other
TABLE = COPIES * BINS + 32  # its words: one behind the bins counts the programs that are done
CHUNKS = 256  # of the bins, each for one program to add up
PROGRAMS = 2048
BLOCK = 512  # pixels at a time of the one warp of such a program


def empty_tables(count: int, device: torch.device | str) -> Tensor:
    """Makes tables [count, TABLE] int32 of zeros."""
    return torch.zeros((count, TABLE), dtype=torch.int32, device=device)


def chunks() -> int:
    """Chooses into how many chunks the bins are divided."""
    return 8 if interpreted() else CHUNKS


def programs(most: int) -> int:
    """Chooses how many programs loop over all pixels; few in the interpreter."""
    return min(most, 4) if interpreted() else most


def count_pixels(kernel: Any, pixels: int, *arguments: Any, **constants: Any) -> None:  # noqa: ANN401
    """Launches a kernel that calls `add_to_table`."""
    tile = block(BLOCK, pixels)
    grid = min(programs(PROGRAMS), triton.cdiv(pixels, tile))
    kernel[(grid,)](*arguments, pixels, **constants, BLOCK=tile, num_warps=1)


@triton.jit
def add_to_table(table, place, mask, BINS: tl.constexpr, COPIES: tl.constexpr):
    """Counts the values of a program, by bin: table[c, place] += 1 in one of the copies c.

    Those in the least and in the largest bin are added at once: it is there that images have most.
    """
    own = table + (tl.program_id(0) % COPIES) * BINS
    least = tl.min(tl.where(mask, place, BINS), axis=0)
    most = tl.max(tl.where(mask, place, -1), axis=0)
    at_least = tl.sum((mask & (place == least)).to(tl.int32), axis=0)
    at_most = tl.sum((mask & (place == most)).to(tl.int32), axis=0)
    between = mask & (place > least) & (place < most)
    tl.atomic_add(own + least, at_least, mask=at_least > 0, sem="relaxed")
    tl.atomic_add(own + most, at_most, mask=most > least, sem="relaxed")
    tl.atomic_add(own + place, between.to(tl.int32), mask=between, sem="relaxed")


@triton.jit
def chunk_counts(table, SPAN: tl.constexpr, BINS: tl.constexpr, COPIES: tl.constexpr):
    """Adds up the copies of this program's chunk of SPAN bins, into the first; gives the bins and
    their counts, both [SPAN] int32.
    """
    bin = tl.program_id(0) * SPAN + tl.arange(0, SPAN)
    counts = tl.load(table + bin)
    for copy in tl.static_range(1, COPIES):
        counts += tl.load(table + copy * BINS + bin)
    tl.store(table + bin, counts)
    return bin, counts


@triton.jit
def is_last(table, BINS: tl.constexpr, COPIES: tl.constexpr):
    """Tells whether all other programs have written what they will: true for one program."""
    tl.debug_barrier()
    done = tl.atomic_add(table + COPIES * BINS, 1, sem="acq_rel")
    tl.debug_barrier()
    return done == tl.num_programs(0) - 1
