"""Finds the logit that a share of pixels lies above without holding the logits: two passes count
the upper and the lower half of the bits of a key that has their order. The result is exact.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Keys = NDArray[np.uint32]

HALF_BITS = 16
_SIGN, _ALL = np.uint32(2**31), np.uint32(2**32 - 1)


@dataclass(frozen=True)
class RankCounts:
    """How many logits have each value of the upper half of their key's bits, or of the lower one.

    Examples:
        Of a million logits, `RankCounts()` tells in whose upper half the one of rank 300,000 lies
        and its rank there (`place`); `RankCounts(that)` tells its lower half.
    """

    upper: int | None = None
    """Counts the lower halves of those with this upper half; None counts the upper halves."""
    table: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2**HALF_BITS, dtype=np.int64))

    def add(self, logit: Floats) -> None:
        """Counts some logits, all of them finite."""
        self.table[:] += self._counted(logit)

    def remove(self, logit: Floats) -> None:
        """Takes some logits out that were counted."""
        self.table[:] -= self._counted(logit)

    def _counted(self, logit: Floats) -> NDArray[np.int64]:
        keys = _keys(logit)
        half = keys >> HALF_BITS
        if self.upper is not None:
            half = keys[half == self.upper] & np.uint32(2**HALF_BITS - 1)
        return np.bincount(half, minlength=2**HALF_BITS)

    def place(self, rank: int) -> tuple[int, int]:
        """Gives the half of the one that `rank` others of those counted lie below, and its rank
        among those with the same half.
        """
        below = np.concatenate([[0], np.cumsum(self.table)])
        half = int(np.searchsorted(below, rank, side="right")) - 1
        return half, rank - int(below[half])

    def __add__(self, other: "RankCounts") -> "RankCounts":
        return RankCounts(self.upper, self.table + other.table)


def logit_of(upper: int, lower: int) -> np.float32:
    """Gives the logit whose key has these halves."""
    key = np.array([upper << HALF_BITS | lower], dtype=np.uint32)
    return np.float32(np.where(key >= _SIGN, key ^ _SIGN, key ^ _ALL).view(np.float32)[0])


def _keys(logit: Floats) -> Keys:
    """Gives unsigned numbers in the order of the logits; both zeros have the same."""
    bits = (logit + np.float32(0)).view(np.uint32)
    return np.where(bits >= _SIGN, bits ^ _ALL, bits ^ _SIGN)
