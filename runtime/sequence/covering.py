"""Covers what changed in a frame with few rectangles."""

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.geometry.tiling import Window

Ints = NDArray[np.int64]


def covering(blocks: NDArray[np.bool_], margin: float, each: float) -> list[Window]:
    """Covers the blocks that are set with disjoint boxes, so that little is computed in sum: of
    each box its blocks, `margin` more of them on every side, and as much as `each` blocks beside.
    """
    if not blocks.any():
        return []
    rows, columns = (np.flatnonzero(blocks.any(axis=axis)) for axis in (1, 0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    inner = blocks[box]
    least, axis, at = _cost(inner.shape, margin, each), 0, 0
    for direction, lines in enumerate((inner, inner.T)):
        costs = _split_costs(lines, margin, each)
        if len(costs) and costs.min() < least:
            least, axis, at = float(costs.min()), direction, int(costs.argmin()) + 1
    if at == 0:
        return [box]
    first, second = np.split(inner, [at], axis=axis)
    top, left = box[0].start, box[1].start
    shift = (at, 0) if axis == 0 else (0, at)
    return [
        *_moved(covering(first, margin, each), top, left),
        *_moved(covering(second, margin, each), top + shift[0], left + shift[1]),
    ]


def _moved(boxes: list[Window], down: int, right: int) -> list[Window]:
    return [
        (
            slice(rows.start + down, rows.stop + down),
            slice(columns.start + right, columns.stop + right),
        )
        for rows, columns in boxes
    ]


def _cost(size: tuple[int, ...], margin: float, each: float) -> float:
    height, width = size
    return (height + 2 * margin) * (width + 2 * margin) + each


def _split_costs(lines: NDArray[np.bool_], margin: float, each: float) -> NDArray[np.float64]:
    """Gives what the boxes of both halves cost, where the lines are split after the first, the
    second ... of them.
    """
    above = _box_costs(lines, margin, each)
    below = _box_costs(lines[::-1], margin, each)[::-1]
    total: NDArray[np.float64] = above[:-1] + below[1:]
    return total


def _box_costs(lines: NDArray[np.bool_], margin: float, each: float) -> NDArray[np.float64]:
    """Gives what the box of the first line costs, of the first two, and so on."""
    count, width = lines.shape
    filled = lines.any(axis=1)
    left = np.minimum.accumulate(np.where(filled, lines.argmax(axis=1), width))
    right = np.maximum.accumulate(np.where(filled, width - lines[:, ::-1].argmax(axis=1), 0))
    number = np.arange(count)
    first = np.where(filled, number, count).min()
    last = np.maximum.accumulate(np.where(filled, number, 0))
    height, wide = last - first + 1, right - left
    cost: NDArray[np.float64] = (height + 2 * margin) * (wide + 2 * margin) + each
    return cost
