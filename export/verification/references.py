"""Makes the image that bundles are verified with, and what the PyTorch network makes of it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcsr.models import PCSR, PlainNetwork
from pcsr.vectors import Vector

Floats = NDArray[np.float32]
OTHER_SCALE = 2.5


def scales(network: PCSR | PlainNetwork, trained: float) -> tuple[float, ...]:
    """Lists the scale trained for and, where the network has others, a fractional one."""
    if isinstance(network, PlainNetwork):
        return (trained,)
    return (trained, OTHER_SCALE if trained != OTHER_SCALE else 2.0)


@torch.no_grad()
def references(network: PCSR | PlainNetwork, image: Floats, scale: float) -> list[Vector]:
    """Upscales an image [h, w, 3] by k = 0 and, where there is something to route, adaptively."""
    batch, case = as_batch(image), f"{image.shape[0]}x{image.shape[1]}_x{scale:g}"
    if isinstance(network, PlainNetwork):
        return [Vector(case, image, scale, False, as_image(network(batch)), None, None)]
    found = []
    for adaptive in (False, True) if len(network.names) > 1 else (False,):
        name = f"{case}_{'adaptive' if adaptive else 'k0'}"
        prediction = network(batch, scale, adaptive=adaptive)
        assignment = prediction.assignment[0].numpy().astype(np.uint8)
        difficulty = prediction.difficulty[0].numpy()
        expected = as_image(prediction.image)
        found.append(Vector(name, image, scale, adaptive, expected, assignment, difficulty))
    return found


def as_batch(image: Floats) -> Tensor:
    """Turns an image [h, w, 3] into a batch [1, 3, h, w]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def as_image(batch: Tensor) -> Floats:
    """Turns a batch [1, 3, h, w] into an image [h, w, 3]."""
    return np.asarray(batch[0].permute(1, 2, 0))


def synthetic_image(size: tuple[int, int]) -> Floats:
    """Draws always the same image [h, w, 3] in [0, 1]: flats, gradients, edges and texture."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    noise = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    stripes = ((x // 3 + y // 5) % 2)[..., None] * (x[..., None] > size[1] / 2)
    ramp = np.stack([x / size[1], y / size[0], (x + y) / sum(size)], axis=-1)
    grain = 0.1 * noise * (x[..., None] < size[1] / 3)
    image = np.where(y[..., None] < size[0] / 3, 0.3, 0.6 * ramp + 0.3 * stripes) + grain
    return np.asarray(image.clip(0, 1), np.float32)


def resized(image: Floats, size: tuple[int, int]) -> Floats:
    """Resizes an image [h, w, 3]: each pixel is the mean of the area that it covers."""
    rows, columns = (_areas(n, m) for n, m in zip(size, image.shape, strict=False))
    small = np.einsum("ij,jkc,lk->ilc", rows, image, columns, optimize=True)
    return np.asarray(small, np.float32)


def _areas(count: int, original: int) -> NDArray[np.float64]:
    """Returns [count, original], the share of each original pixel in each of `count` new ones."""
    edges = np.linspace(0, original, count + 1)[:, None]
    pixels = np.arange(original)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    shares: NDArray[np.float64] = np.maximum(overlap, 0) * count / original
    return shares
