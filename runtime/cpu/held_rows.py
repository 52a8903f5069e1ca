"""Output rows between their composition and their refinement, and the memory that they lie in."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.geometry.grid import Floats

from .passes import Labels


class ReusedArrays:
    """Named arrays that keep their place: one of a name is lost when the next is taken."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[Any]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """Returns an array of this shape, not cleared."""
        count = math.prod(shape)
        if name not in self._held or self._held[name].size < count:
            self._held[name] = np.empty(count, dtype=dtype)
        return self._held[name][:count].reshape(shape)


class ArrayPool:
    """Lends `ReusedArrays` to one image at a time; as many exist as there were images at once."""

    def __init__(self) -> None:
        self._spare: list[ReusedArrays] = []

    @contextmanager
    def lent(self) -> Iterator[ReusedArrays]:
        """Lends the most recently returned ones."""
        try:
            arrays = self._spare.pop()
        except IndexError:
            arrays = ReusedArrays()
        try:
            yield arrays
        finally:
            self._spare.append(arrays)


class HeldRows:
    """Output rows of a band and, before them, the last two of the band above: a row is refined
    together with its neighbours.

    Of two bands with the rows 0-4 and 5-9, the first holds 0-4; rows 0-3 are finished and row 4
    waits for row 5. `followed_by(5)` holds rows 3-9, and rows 4-9 are finished.

    Attributes:
        planes: [3, n, W] float32 RGB.
        labels: [n, W] uint8, the upsampler of each pixel.
        difficulty: [n, W] float32.
    """

    def __init__(self, arrays: ReusedArrays, rows: int, width: int) -> None:
        self._arrays = arrays
        self.planes: Floats = arrays.take("planes", (3, rows, width), np.float32)
        self.labels: Labels = arrays.take("labels", (rows, width), np.uint8)
        self.difficulty: Floats = arrays.take("difficulty", (rows, width), np.float32)

    def followed_by(self, rows: int) -> "HeldRows":
        """Returns the last two rows with room for as many more; these rows are lost."""
        last = [array[..., -2:, :].copy() for array in self._all()]
        kept, width = last[1].shape
        after = HeldRows(self._arrays, kept + rows, width)
        for array, part in zip(after._all(), last, strict=True):
            array[..., :kept, :] = part
        return after

    def _all(self) -> tuple[NDArray[Any], ...]:
        return self.planes, self.labels, self.difficulty
