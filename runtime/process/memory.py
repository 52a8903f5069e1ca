"""Memory of arrays that is used again when nobody holds them any more."""

import math
import threading
from sys import getrefcount
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
        self._blocks: list[_Block] = []  # from the one that was not lent for the longest time on
        self._bytes = self._most_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """What all its arrays take, lent or not."""
        return self._bytes

    def take(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Returns an array of this shape, not cleared."""
        kind = np.dtype(dtype)
        count = math.prod(shape) * kind.itemsize
        if count < LEAST_BYTES:
            return np.empty(shape, dtype=kind)
        with self._lock:
            block = self._fitting(count)
            self._blocks.append(block)
            # Nobody else may find it spare: it is lent before the lock is given back.
            return np.ndarray(shape, kind, block.memory, block.offset)

    def _fitting(self, count: int) -> "_Block":
        """Takes the smallest block that fits out of those that are kept, or makes one."""
        found, size = -1, 2 * count + 1
        for index, block in enumerate(self._blocks):
            if count <= block.size < size and block.is_spare:
                found, size = index, block.size
        if found >= 0:
            return self._blocks.pop(found)
        new = _Block(count)  # first, as it may fail: what is not there is not counted
        spare = [block for block in self._blocks if block.is_spare]
        held = self._bytes - sum(block.size for block in spare) + count
        self._most_bytes = max(self._most_bytes, held)
        self._bytes += count
        for block in spare:
            if self._bytes <= self._most_bytes + self._most_bytes // 4 + SLACK_BYTES:
                break
            self._blocks.remove(block)
            self._bytes -= block.size
        return new


class _Memory(np.ndarray[Any, Any]):
    """What arrays in a block refer to. As it is of a class of its own, NumPy lets views of them
    refer to them, and not to it: whoever lends such an array counts its references.
    """


class _Block:
    """Memory that begins at a cache line, `offset` bytes into an array."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory = _Memory(size + CACHE_LINE, np.uint8)
        self._alone = getrefcount(self.memory)  # before anybody else refers to it
        self.offset: int = -self.memory.ctypes.data % CACHE_LINE

    @property
    def is_spare(self) -> bool:
        """Tells whether nobody refers to it."""
        return getrefcount(self.memory) == self._alone
