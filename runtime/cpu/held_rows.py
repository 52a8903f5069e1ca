"""Output rows between their composition and their refinement, and memory that is used again."""

import math
import threading
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pcsr.runtime.geometry.grid import Floats

from .passes import Labels

LEAST_BYTES = 2**15  # smaller arrays are cheaper to make than to keep
SLACK_BYTES = 2**22
CACHE_LINE = 64


class ReusedMemory:
    """Gives arrays whose memory is used again once nobody holds them, nor a view of them. Together
    they take little more than what was held at once at most. Any number of threads may ask.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: list[_Block] = []  # arrays that end append here, at any time and without lock
        self._bytes = self._most_bytes = 0

    def take(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Returns an array of this shape, not cleared."""
        kind = np.dtype(dtype)
        count = math.prod(shape) * kind.itemsize
        if count < LEAST_BYTES:
            return np.empty(shape, dtype=kind)
        with self._lock:
            block = self._fitting(count)
        return np.asarray(_Lent(block, self._spare, shape, kind))

    def _fitting(self, count: int) -> "_Block":
        spare = [*self._spare]
        fitting = [block for block in spare if count <= block.size <= 2 * count]
        if fitting:
            block = min(fitting, key=attrgetter("size"))
            self._spare.remove(block)
            return block
        held = self._bytes - sum(block.size for block in spare) + count
        self._most_bytes = max(self._most_bytes, held)
        self._bytes += count
        for block in spare:  # from the one that was spare for the longest time on
            if self._bytes <= self._most_bytes + self._most_bytes // 4 + SLACK_BYTES:
                break
            self._spare.remove(block)
            self._bytes -= block.size
        return _Block(count)


class _Block:
    """Memory that begins at a cache line."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._memory = np.empty(size + CACHE_LINE, dtype=np.uint8)
        start: int = self._memory.ctypes.data
        self.address = start + -start % CACHE_LINE


class _Lent:
    """What an array in a block is a view of: NumPy lets go of it with the last such view."""

    def __init__(
        self, block: _Block, spare: list[_Block], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._block, self._spare = block, spare
        data = (block.address, False)
        self.__array_interface__ = {
            "shape": shape,
            "typestr": dtype.str,
            "data": data,
            "version": 3,
        }

    def __del__(self) -> None:
        self._spare.append(self._block)


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

    def __init__(self, memory: ReusedMemory, rows: int, width: int) -> None:
        self._memory = memory
        self.planes: Floats = memory.take((3, rows, width), np.float32)
        self.labels: Labels = memory.take((rows, width), np.uint8)
        self.difficulty: Floats = memory.take((rows, width), np.float32)

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
