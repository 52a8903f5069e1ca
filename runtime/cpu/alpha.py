"""Colours under transparent pixels, which nobody sees, must not reach the picture.

The network mixes the colours of neighbours. So each fully transparent pixel takes the mean colour
of the visible pixels near it: those of the smallest block of 2x2, 4x4, 8x8 ... that has any.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_BLOCK_PIXELS = 2**20


def bleed_colours(image: NDArray[Any]) -> NDArray[Any]:
    """Returns [h,w,2] or [h,w,4], alpha last, with other colours where alpha is 0 (or below).

    The rest stays as it is: an image with no such pixel is returned itself, and so is one that has
    no others. Expects finite values.
    """
    hidden = image[..., -1] <= 0
    if not hidden.any() or hidden.all():
        return image
    rows = 2 * max(1, _BLOCK_PIXELS // (2 * image.shape[1]))
    blocks = [slice(top, top + rows) for top in range(0, len(image), rows)]
    halves = [_halved(*_weighted(image[block])) for block in blocks]
    colours, weights = (np.concatenate(parts) for parts in zip(*halves, strict=True))
    means = _filled(colours, weights)
    bled = image.copy()
    for block in blocks:
        half = slice(block.start // 2, block.stop // 2)
        here = hidden[block]
        found = _doubled(means[half], here.shape)[here]
        bled[block][here, :-1] = found if image.dtype.kind == "f" else np.rint(found)
    return bled


def _weighted(image: NDArray[Any]) -> tuple[Floats, Floats]:
    """Returns colours [h,w,c] and their weights [h,w,1]: alpha."""
    weights = np.maximum(image[..., -1:].astype(np.float32), 0)
    return image[..., :-1].astype(np.float32), weights


def _halved(colours: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Returns the weighted mean colours of blocks of 2x2, and their weights."""
    totals, sums = _summed(weights), _summed(colours * weights)
    means: Floats = np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0)
    return means, totals * np.float32(0.25)


def _summed(values: Floats) -> Floats:
    height, width, _ = values.shape
    even = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    above, below = even[0::2], even[1::2]
    # In this order, as libpcsr does: which one NumPy's sum takes depends on the shape.
    summed: Floats = (above[:, 0::2] + above[:, 1::2]) + (below[:, 0::2] + below[:, 1::2])
    return summed


def _filled(colours: Floats, weights: Floats) -> Floats:
    """Returns the colours, with those of larger blocks where the weight is 0."""
    if (weights > 0).all() or weights.size == 1:  # its weight may be too small for float32
        return colours
    larger = _filled(*_halved(colours, weights))
    return np.where(weights > 0, colours, _doubled(larger, colours.shape))


def _doubled(colours: Floats, size: tuple[int, ...]) -> Floats:
    return colours.repeat(2, axis=0).repeat(2, axis=1)[: size[0], : size[1]]
