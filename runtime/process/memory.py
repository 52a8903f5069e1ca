"""Memory of arrays that is used again when nobody holds them any more."""

import math
import threading
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

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
        new = _Block(count)  # first, as it may fail: what is not there is not counted
        held = self._bytes - sum(block.size for block in spare) + count
        self._most_bytes = max(self._most_bytes, held)
        self._bytes += count
        for block in spare:  # from the one that was spare for the longest time on
            if self._bytes <= self._most_bytes + self._most_bytes // 4 + SLACK_BYTES:
                break
            self._spare.remove(block)
            self._bytes -= block.size
        return new


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
