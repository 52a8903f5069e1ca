"""Output rows between their composition and their refinement."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.cpu.output import Rows
from pcsr.runtime.cpu.passes import Labels
from pcsr.runtime.geometry.grid import Floats
from pcsr.runtime.process.memory import ReusedMemory


class HeldRows:
    """Output rows of a band and, before them, the last two of the band above: a row is refined
    together with its neighbours.

    Of two bands with the rows 0-4 and 5-9, the first holds 0-4; rows 0-3 are finished and row 4
    waits for row 5. `followed_by(5)` holds rows 3-9, and rows 4-9 are finished.

    Where one band is the whole output, its labels and difficulties lie in `target` at once.

    Attributes:
        planes: [3, n, W] float32 RGB.
        labels: [n, W] uint8, the upsampler of each pixel.
        difficulty: [n, W] float32.
    """

    def __init__(
        self, memory: ReusedMemory, rows: int, width: int, target: Rows | None = None
    ) -> None:
        self._memory = memory
        self.planes: Floats = memory.take((3, rows, width), np.float32)
        if target is not None and target.assignment.shape == (rows, width):
            self.labels: Labels = target.assignment
            self.difficulty: Floats = target.difficulty
        else:
            self.labels = memory.take((rows, width), np.uint8)
            self.difficulty = memory.take((rows, width), np.float32)

    def followed_by(self, rows: int) -> "HeldRows":
        """Returns the last two rows with room for as many more; these rows are lost."""
        last = [array[..., -2:, :].copy() for array in self._all()]
        kept, width = last[1].shape
        del self.planes, self.labels, self.difficulty  # the same memory is taken again
        after = HeldRows(self._memory, kept + rows, width)
        for array, part in zip(after._all(), last, strict=True):
            array[..., :kept, :] = part
        return after

    def _all(self) -> tuple[NDArray[Any], ...]:
        return self.planes, self.labels, self.difficulty
