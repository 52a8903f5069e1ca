"""Writes the verification vectors of a bundle: see `pcsr.vectors`, which reads them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pcsr.models import PCSR, PlainNetwork

from .fp32 import LR_SIZES, as_batch, as_image, scales
from .pictures import sample_picture

LARGER_SIZE = (64, 72)  # more than 65,504 output pixels at x4
MOST_PIXELS = 2**17  # of an output, so that the file stays below 3 MB
Arrays = dict[str, NDArray[Any]]
STEP = 2.0**-20  # the noise of float32 sums; stored to this, an image takes less space


def write_vectors(path: Path, network: PCSR | PlainNetwork, trained_scale: float) -> None:
    """Writes what the network makes of the sample picture at a few sizes and scales."""
    arrays: Arrays = {}
    for size, scale in _cases(network, trained_scale):
        image = np.rint(sample_picture(size) * 255).astype(np.uint8)
        arrays[f"{size[0]}x{size[1]}.image"] = image
        arrays |= _results(network, image, scale)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # keywords, not its own options


def _cases(network: PCSR | PlainNetwork, trained: float) -> Iterator[tuple[tuple[int, int], float]]:
    cases = [(size, scale) for size in LR_SIZES for scale in scales(network, trained)]
    cases.append((LARGER_SIZE, trained))
    for size, scale in cases:
        if size[0] * size[1] * scale**2 <= MOST_PIXELS or size == LR_SIZES[-1]:
            yield size, scale


def _results(network: PCSR | PlainNetwork, image: NDArray[np.uint8], scale: float) -> Arrays:
    case = f"{image.shape[0]}x{image.shape[1]}_x{scale:g}"
    batch = as_batch(image.astype(np.float32) / np.float32(255))
    if isinstance(network, PlainNetwork):
        with torch.no_grad():
            return _result(case, scale, False, as_image(network(batch)))
    arrays: Arrays = {}
    for adaptive in (False, True) if len(network.names) > 1 else (False,):
        name = f"{case}_{'adaptive' if adaptive else 'k0'}"
        reference = network(batch, scale, adaptive=adaptive)
        arrays |= _result(name, scale, adaptive, as_image(reference.image)) | {
            f"{name}.assignment": reference.assignment[0].numpy().astype(np.uint8),
            f"{case}.difficulty": _rounded(reference.difficulty[0].numpy()),
        }
    return arrays


def _result(name: str, scale: float, adaptive: bool, expected: NDArray[np.float32]) -> Arrays:
    return {
        f"{name}.scale": np.array(scale),
        f"{name}.adaptive": np.array(adaptive),
        f"{name}.expected": _rounded(expected),
    }


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    rounded: NDArray[np.float32] = (np.rint(values / STEP) * STEP).astype(np.float32)
    return rounded
