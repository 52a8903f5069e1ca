"""Defines what a CPU reaches at most: products of float32 matrices, copies in memory. In a process
of its own, since NumPy's libraries read their number of threads once, when they are loaded.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pcsr.errors import BackendError

from .calls import timed
from .process import DidNotFinish, call_alone

SIZES = (512, 1024, 2048)
COPY_BYTES = 2**27  # beyond any cache
REPEATS = 5
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


@dataclass(frozen=True)
class Ceilings:
    """Holds what a machine reached in this run."""

    gflop_s: float
    """GFLOP/s (two per multiply-add) of products of float32 matrices."""
    gb_s: float
    """GB/s of copies in its memory, bytes read plus written."""
    half_gflop_s: float | None = None
    """GFLOP/s of products of matrices in half precision; None on a CPU."""

    def higher(self, other: "Ceilings") -> "Ceilings":
        """Takes the better of two attempts: what a disturbance took is no ceiling."""
        half = max(self.half_gflop_s or 0, other.half_gflop_s or 0) or None
        return Ceilings(max(self.gflop_s, other.gflop_s), max(self.gb_s, other.gb_s), half)


def measure_ceilings(
    threads: int, sizes: Sequence[int] = SIZES, copy_bytes: int = COPY_BYTES
) -> Ceilings:
    """Measures the best of a few attempts with so many threads.

    Raises:
        BackendError: the process that measures them failed.
    """
    arguments = {"threads": threads, "sizes": list(sizes), "copy_bytes": copy_bytes}
    pools = dict.fromkeys(POOLS, str(threads))
    try:
        found = call_alone(f"{__name__}:reached", arguments, environment=pools)
    except DidNotFinish as why:
        raise BackendError(f"the ceilings of this machine cannot be measured: {why}") from why
    return Ceilings(**found)


def reached(threads: int, sizes: Sequence[int], copy_bytes: int) -> dict[str, float]:
    """Measures what this process reaches, as the fields of `Ceilings`."""
    return {"gflop_s": max(map(_products, sizes)), "gb_s": _copies(threads, copy_bytes)}


def sgemm_gflops(threads: int) -> float:
    """Measures GFLOP/s (two FLOPs per multiply-add) of float32 products of square matrices."""
    return measure_ceilings(threads, copy_bytes=2**20).gflop_s


def _products(size: int) -> float:
    left, right = np.random.default_rng(0).random((2, size, size), dtype=np.float32)
    out = np.empty_like(left)
    return 2e-9 * size**3 / _fastest_s(lambda: np.matmul(left, right, out=out))


def _copies(threads: int, size: int) -> float:
    """Measures GB/s of bytes read plus written."""
    source, target = np.ones(size, dtype=np.uint8), np.empty(size, dtype=np.uint8)
    parts = [slice(size * i // threads, size * (i + 1) // threads) for i in range(threads)]

    def copy(part: slice) -> None:
        target[part] = source[part]

    with ThreadPoolExecutor(threads) as pool:
        return 2e-9 * size / _fastest_s(lambda: list(pool.map(copy, parts)))


def _fastest_s(call: Callable[[], object]) -> float:
    times_ms = [timed(call)[0] for _ in range(REPEATS + 1)]
    return min(times_ms[1:]) / 1000  # the first allocates
