"""Which parts of a frame differ from the one before."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.geometry.tiling import Window
from pcsr.runtime.layout import PEAK

BLOCK_PX = 8
"""Side of the blocks that are compared: each counts as changed where a pixel of it does."""

Pixels = NDArray[Any]
Blocks = NDArray[np.bool_]
"""[ceil(h / BLOCK_PX), ceil(w / BLOCK_PX)]."""


def changed_blocks(before: Pixels, after: Pixels, within: float = 0) -> Blocks:
    """Finds the blocks of two contiguous frames [h, w] or [h, w, channels], of one shape and dtype,
    where a pixel differs.

    within: how much it may differ, in levels of 0..255; with 0 its bits count.
    """
    height, width = after.shape[:2]
    differs = _bits(before, after) if within == 0 else _levels(before, after, within)
    if differs is None:
        return np.zeros([-(-length // BLOCK_PX) for length in (height, width)], dtype=np.bool_)
    rows = np.bitwise_or.reduceat(differs, range(0, height, BLOCK_PX), axis=0).view(np.uint8)
    step = BLOCK_PX * (rows.shape[1] // width)
    found: Blocks = np.bitwise_or.reduceat(rows, range(0, rows.shape[1], step), axis=1) > 0
    return found


def _bits(before: Pixels, after: Pixels) -> NDArray[Any] | None:
    """Gives the bits that differ, by rows; None where none does."""
    old, new = (frame.view(np.uint8).reshape(len(frame), -1) for frame in (before, after))
    if np.array_equal(old, new):
        return None
    if old.shape[1] % 8:
        return np.bitwise_xor(old, new)
    return np.bitwise_xor(old.view(np.uint64), new.view(np.uint64))


def _levels(before: Pixels, after: Pixels, within: float) -> NDArray[Any]:
    """Gives what differs by more than so many levels, by rows; NaN does."""
    old, new = before.astype(np.float64), after.astype(np.float64)
    near = np.abs(new - old) <= within * PEAK[after.dtype.name] / 255
    return np.invert(near).view(np.uint8).reshape(len(after), -1)


def mixed(before: Pixels, after: Pixels, blocks: Blocks) -> Pixels:
    """Returns the frame before with those blocks of the one after."""
    height, width = after.shape[:2]
    chosen = blocks.repeat(BLOCK_PX, axis=0).repeat(BLOCK_PX, axis=1)[:height, :width]
    chosen = chosen.reshape(height, width, *(1,) * (after.ndim - 2))
    picked: Pixels = np.where(chosen, after, before)
    return picked


def window_of(box: Window, size: tuple[int, int]) -> Window:
    """Returns the pixels of a box of blocks in a frame of `size` (height, width)."""
    rows, columns = (
        slice(part.start * BLOCK_PX, min(length, part.stop * BLOCK_PX))
        for part, length in zip(box, size, strict=True)
    )
    return rows, columns
