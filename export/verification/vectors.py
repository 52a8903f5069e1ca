"""Writes the verification vectors of a bundle: see `pcsr.vectors`, which reads them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.models import PCSR, PlainNetwork
from pcsr.vectors import Vector

from .fp32 import LR_SIZES
from .references import references, scales, synthetic_image

LARGER_SIZE = (64, 72)  # more than 65,504 output pixels at x4
MOST_PIXELS = 2**17  # of an output, so that the file stays below 3 MB
STEP = 2.0**-20  # the noise of float32 sums; stored to this, an image takes less space


def write_vectors(path: Path, network: PCSR | PlainNetwork, trained_scale: float) -> None:
    """Writes what the network makes of the synthetic image at a few sizes and scales."""
    arrays: dict[str, NDArray[Any]] = {}
    for size, scale in _cases(network, trained_scale):
        image = np.rint(synthetic_image(size) * 255).astype(np.uint8)
        arrays[f"{size[0]}x{size[1]}.image"] = image
        for vector in references(network, image.astype(np.float32) / np.float32(255), scale):
            arrays |= _arrays(vector)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # keywords, not its own options


def _cases(network: PCSR | PlainNetwork, trained: float) -> Iterator[tuple[tuple[int, int], float]]:
    cases = [(size, scale) for size in LR_SIZES for scale in scales(network, trained)]
    cases.append((LARGER_SIZE, trained))
    for size, scale in cases:
        if size[0] * size[1] * scale**2 <= MOST_PIXELS or size == LR_SIZES[-1]:
            yield size, scale


def _arrays(vector: Vector) -> dict[str, NDArray[Any]]:
    name = vector.name
    arrays = {
        f"{name}.scale": np.array(vector.scale),
        f"{name}.adaptive": np.array(vector.adaptive),
        f"{name}.expected": _rounded(vector.expected),
    }
    if vector.assignment is not None and vector.difficulty is not None:
        arrays[f"{name}.assignment"] = vector.assignment
        arrays[f"{name.rpartition('_')[0]}.difficulty"] = _rounded(vector.difficulty)
    return arrays


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.rint(values / STEP) * STEP, np.float32)
