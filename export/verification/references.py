"""Computes what the PyTorch network makes of images: what a bundle is held to."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcsr.models import PCSR, PlainNetwork
from pcsr.vectors import Vector

OTHER_SCALE = 2.5


def scales(network: PCSR | PlainNetwork, trained: float) -> tuple[float, ...]:
    """Lists the scale trained for and, where the network has others, a fractional one."""
    if isinstance(network, PlainNetwork):
        return (trained,)
    return (trained, OTHER_SCALE if trained != OTHER_SCALE else 2.0)


@torch.no_grad()
def references(
    network: PCSR | PlainNetwork, image: NDArray[np.float32], scale: float
) -> list[Vector]:
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


def as_batch(image: NDArray[np.float32]) -> Tensor:
    """Turns an image [h, w, 3] into a batch [1, 3, h, w]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def as_image(batch: Tensor) -> NDArray[np.float32]:
    """Turns a batch [1, 3, h, w] into an image [h, w, 3]."""
    image: NDArray[np.float32] = batch[0].permute(1, 2, 0).numpy()
    return image
