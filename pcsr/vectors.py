"""Verification vectors are images with what the float32 PyTorch network makes of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.manifest import require

Floats = NDArray[np.float32]
LARGEST_SCALE = 1000


@dataclass(frozen=True)
class Vector:
    """One image and what `Upscaler(bundle)(image, scale, adaptive=adaptive)` gives within 2e-5."""

    name: str
    image: Floats
    """[h, w, 3], multiples of 1/255."""
    scale: float
    adaptive: bool
    """Whether ADM routes; else k = 0 does."""
    expected: Floats
    """[H, W, 3], refined and not clipped."""
    assignment: NDArray[np.uint8] | None
    """[H, W] as in `Result`; as the difficulty None for a plain network."""
    difficulty: Floats | None


def read_vectors(arrays: Mapping[str, NDArray[Any]], upsamplers: int) -> list[Vector]:
    """Makes the vectors of the arrays of verification.npz; `upsamplers` is M, 0 for a plain
    network.

    Raises:
        ValueError: they do not fit together, or there are none.
    """
    names = [name.removesuffix(".expected") for name in arrays if name.endswith(".expected")]
    require(len(names) > 0, "emptiness")
    try:
        return [_vector(name, arrays, upsamplers) for name in names]
    except KeyError as error:
        raise ValueError(f"no {error}") from error


def _vector(name: str, arrays: Mapping[str, NDArray[Any]], upsamplers: int) -> Vector:
    size, scale = name.split("_")[0], float(_scalar(arrays, f"{name}.scale"))
    require(0 < scale <= LARGEST_SCALE, f"{name}.scale")
    image = arrays[f"{size}.image"]
    require(image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, f"{size}.image")
    height, width = (round(n * scale) for n in image.shape[:2])
    expected = arrays[f"{name}.expected"]
    require(_is(expected, np.float32, (height, width, 3)), f"{name}.expected")
    assignment = difficulty = None
    if upsamplers:
        case = name.rpartition("_")[0]
        assignment, difficulty = arrays[f"{name}.assignment"], arrays[f"{case}.difficulty"]
        require(_is(assignment, np.uint8, (height, width)), f"{name}.assignment")
        require(int(assignment.max(initial=0)) < upsamplers, f"{name}.assignment")
        require(_is(difficulty, np.float32, (height, width)), f"{case}.difficulty")
    pixels = image.astype(np.float32) / np.float32(255)
    adaptive = bool(_scalar(arrays, f"{name}.adaptive"))
    return Vector(name, pixels, scale, adaptive, expected, assignment, difficulty)


def _scalar(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    require(arrays[name].size == 1, name)
    return arrays[name].reshape(())


def _is(array: NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...]) -> bool:
    return array.dtype == dtype and array.shape == shape and bool(np.isfinite(array).all())
