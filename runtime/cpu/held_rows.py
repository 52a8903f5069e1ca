"""Output rows between their composition and their refinement."""

from dataclasses import dataclass

import numpy as np

from pcsr.runtime.geometry.grid import Floats

from .memory import Arrays
from .passes import Labels


@dataclass(frozen=True)
class HeldRows:
    """Output rows of a band and, before them, the last two of the band above, which refinement
    needs. planes [3, n, W] float32; labels [n, W] uint8; difficulty [n, W] float32.

    It lies in memory that the next band and the next image use again.
    """

    arrays: Arrays
    planes: Floats
    labels: Labels
    difficulty: Floats

    @classmethod
    def nothing(cls, arrays: Arrays, width: int) -> "HeldRows":
        return cls._empty(arrays, (0, width))

    def followed_by(self, rows: int) -> "HeldRows":
        """The last two rows, and room for as many more."""
        kept = min(2, len(self.labels))
        size = (kept + rows, self.labels.shape[1])
        planes, labels = self.planes[:, -2:].copy(), self.labels[-2:].copy()
        difficulty = self.difficulty[-2:].copy()
        after = self._empty(self.arrays, size)
        after.planes[:, :kept], after.labels[:kept] = planes, labels
        after.difficulty[:kept] = difficulty
        return after

    @classmethod
    def _empty(cls, arrays: Arrays, size: tuple[int, int]) -> "HeldRows":
        return cls(
            arrays,
            arrays.take("planes", (3, *size), np.float32),
            arrays.take("labels", size, np.uint8),
            arrays.take("difficulty", size, np.float32),
        )
