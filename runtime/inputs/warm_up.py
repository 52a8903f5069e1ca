"""The image that a warm-up is made with."""

import math
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError
from pcsr.runtime.layout import PEAK

from .arguments import Argument, checked, one_of, whole

MOST_VALUES = 2**30
"""Of an image to warm up with."""


def _size(height: Any, width: Any) -> tuple[int, int]:  # noqa: ANN401
    if min(height, width) < 1:
        raise ValueError
    return index(height), index(width)


ARGUMENTS = {
    "size": Argument("be (height, width) of an image", lambda size: _size(*size)),
    "channels": whole("be from 1 to 4", 1, 4),
    "dtype": one_of(*PEAK),
}


def noise(size: tuple[int, int], channels: int, dtype: str) -> NDArray[Any]:
    """Makes an image [h, w, channels] of noise.

    Raises:
        UsageError: a size, channels or dtype that no image has.
    """
    given = checked({"size": size, "channels": channels, "dtype": dtype}, ARGUMENTS)
    shape = (*given["size"], given["channels"])
    if math.prod(shape) > MOST_VALUES:
        raise UsageError(f"expected at most {MOST_VALUES} values to warm up with, found {shape}")
    values = np.random.default_rng(0).random(shape, np.float32)
    return (values * np.float32(PEAK[dtype])).astype(dtype)
