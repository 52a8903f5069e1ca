"""Makes the image that bundles are verified with."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def synthetic_image(size: tuple[int, int]) -> Floats:
    """Draws always the same image [h, w, 3] in [0, 1]: flats, gradients, edges and texture."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    noise = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    stripes = ((x // 3 + y // 5) % 2)[..., None] * (x[..., None] > size[1] / 2)
    ramp = np.stack([x / size[1], y / size[0], (x + y) / sum(size)], axis=-1)
    grain = 0.1 * noise * (x[..., None] < size[1] / 3)
    image = np.where(y[..., None] < size[0] / 3, 0.3, 0.6 * ramp + 0.3 * stripes) + grain
    clipped: Floats = image.clip(0, 1).astype(np.float32)
    return clipped


def resized(image: Floats, size: tuple[int, int]) -> Floats:
    """Resizes an image [h, w, 3]: each pixel is the mean of the area that it covers."""
    rows, columns = (_areas(n, m) for n, m in zip(size, image.shape, strict=False))
    small: Floats = np.einsum("ij,jkc,lk->ilc", rows, image, columns, optimize=True)
    return small.astype(np.float32)


def _areas(count: int, original: int) -> NDArray[np.float64]:
    """Returns [count, original], the share of each original pixel in each of `count` new ones."""
    edges = np.linspace(0, original, count + 1)[:, None]
    pixels = np.arange(original)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    shares: NDArray[np.float64] = np.maximum(overlap, 0) * count / original
    return shares
