"""The images of callers on a device: this does what `runtime.layout` does, for torch tensors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcsr.errors import ImageError
from pcsr.runtime.layout import LUMA, PEAK, Layout

DTYPES = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}


def as_tensor(image: Any) -> Tensor:  # noqa: ANN401
    """Gives a NumPy array, a tensor, or anything that speaks DLPack as a tensor, without a copy
    where that is possible.

    Raises:
        ImageError: it is something else.
    """
    if isinstance(image, Tensor):
        return image
    try:
        if isinstance(image, np.ndarray) or not hasattr(image, "__dlpack__"):
            array = np.ascontiguousarray(image)
            # torch warns of arrays that it may not write to, and nothing here writes
            array = array if array.flags.writeable else array.copy()
            return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
        return torch.utils.dlpack.from_dlpack(image)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        raise ImageError(f"expected an image, found {type(image).__name__}: {error}") from error


def layout_of(image: Tensor) -> Layout:
    """Gives the layout of an image [h, w] or [h, w, c].

    Raises:
        ImageError: its dtype or shape is not taken, or it is empty.
    """
    name = str(image.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ImageError(
            f"expected uint8, uint16 or float32 pixels, found {name}; convert them first"
        )
    return Layout.of(np.broadcast_to(np.zeros((), dtype=name), image.shape))


def to_network(image: Tensor, layout: Layout) -> Tensor:
    """Turns [h, w(, c)] into [3 or 1, h, w] float32 in [0, 1], without alpha."""
    colour = image.reshape(*image.shape[:2], -1)[..., : 1 if layout.is_gray else 3]
    planes: Tensor = colour.permute(2, 0, 1).to(torch.float32)
    return planes / PEAK[layout.dtype.name] if layout.dtype.kind != "f" else planes


def from_gray(rgb: Tensor, layout: Layout) -> Tensor:
    """Turns [H, W, 3] float32 into [H, W, 1] in the caller's dtype."""
    gray = (rgb @ torch.from_numpy(LUMA).to(rgb.device))[..., None]
    return converted(gray, DTYPES[layout.dtype.name])


def converted(image: Tensor, dtype: torch.dtype) -> Tensor:
    """Gives float32 values in [0, 1] in another dtype: uint8 and uint16 are clipped and rounded
    (ties to even), float32 stays as it is.
    """
    if dtype == torch.float32:
        return image
    peak = PEAK[str(dtype).removeprefix("torch.")]
    return (image * peak).round().clamp(0, peak).to(torch.int32).to(dtype)
