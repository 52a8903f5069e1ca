"""The last two steps: add the bilinearly upsampled input to the residuals, and refine borders of
heavy regions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.geometry.grid import Floats, Grid


def add_bilinear(residual: Floats, image: Floats, grid: Grid, rows: slice) -> None:
    """Adds the bilinear upsample of `image` to some rows of `residual` [H, W, 3], in place.

    image: [h, w, 3] float32. Half-pixel centres, borders clamped (`grid_sample` with border
        padding).
    """
    y, x = grid.rows, grid.columns
    upper, lower = image[y.upper[rows]], image[y.lower[rows]]
    lines = lower + y.weight[rows, None, None] * (upper - lower)
    left, right = np.take(lines, x.lower, axis=1), np.take(lines, x.upper, axis=1)
    right -= left
    right *= x.weight[:, None]
    left += right
    residual[rows] += left


def refine_rows(image: Floats, heavy: NDArray[np.bool_], rows: slice) -> Floats:
    """Pixel-wise refinement (paper section 3.4) of some rows; returns a new array of them.

    A pixel that is light, not on the outermost frame, and beside a heavy one (of 8) becomes the 3x3
    mean of the unrefined `image` [H, W, 3]. heavy: [H, W].
    """
    height, width = heavy.shape
    out = image[rows].copy()
    first, last = max(rows.start, 1), min(rows.stop, height - 1)
    if first >= last or width < 3:
        return out
    around = slice(first - 1, last + 1)
    near = _box(heavy[around].view(np.uint8), np.maximum)
    changed = (near > 0) & ~heavy[first:last, 1:-1]
    mean = _box(image[around], np.add)
    mean *= np.float32(1 / 9)
    inner = out[first - rows.start : last - rows.start, 1:-1]
    np.copyto(inner, mean, where=changed[..., None])
    return out


def _box(values: NDArray[Any], combine: np.ufunc) -> NDArray[Any]:
    """3x3 reduction without padding: [H, W, ...] -> [H-2, W-2, ...]."""
    lines: NDArray[Any] = combine(combine(values[:-2], values[1:-1]), values[2:])
    out: NDArray[Any] = combine(combine(lines[:, :-2], lines[:, 1:-1]), lines[:, 2:])
    return out
