"""The speed that matrix products reach here: the roof over every contender."""

from collections.abc import Sequence
from time import perf_counter

import torch

SIZES = (512, 1024, 2048)
REPEATS = 5


def sgemm_gflops(threads: int, sizes: Sequence[int] = SIZES, repeats: int = REPEATS) -> float:
    """Best GFLOP/s (two FLOPs per multiply-add) of float32 products of square matrices."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return max(2e-9 * size**3 / _fastest_s(size, repeats) for size in sizes)
    finally:
        torch.set_num_threads(before)


def _fastest_s(size: int, repeats: int) -> float:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.rand(size, size, generator=generator) for _ in range(2))
    times = []
    for _ in range(repeats + 1):  # the first allocates
        start = perf_counter()
        torch.mm(left, right)
        times.append(perf_counter() - start)
    return min(times[1:])
