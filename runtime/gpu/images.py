"""The images of callers on a device: this does what `runtime.layout` does, for torch tensors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcsr.errors import ImageError
from pcsr.runtime.inputs.arrays import as_array
from pcsr.runtime.layout import LUMA, PEAK, Layout, refuse_dtype

DTYPES = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}


def as_tensor(image: Any) -> Tensor:  # noqa: ANN401
    """Gives a caller's image as a tensor, without a copy where that is possible: of a tensor, or
    what speaks DLPack, where it is, and of all that `as_array` takes on the CPU.

    Raises:
        ImageError: it is something else.
    """
    if isinstance(image, Tensor):
        if image.requires_grad or image.layout != torch.strided or image.device.type == "meta":
            as_array(image)
        return image
    if hasattr(image, "__dlpack__") and not isinstance(image, np.ndarray):
        try:
            return torch.utils.dlpack.from_dlpack(image)
        except (TypeError, ValueError, BufferError, RuntimeError) as error:
            name = type(image).__name__
            raise ImageError(f"expected an image, found {name}: {error}") from error
    array = as_array(image)
    refuse_dtype(array.dtype.name)
    # PyTorch takes no other byte order, no negative strides, and warns of memory that is read-only.
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))


def layout_of(image: Tensor) -> Layout:
    """Gives the layout of an image [h, w] or [h, w, c].

    Raises:
        ImageError: its dtype or shape is not taken, or it is empty.
    """
    name = str(image.dtype).removeprefix("torch.")
    refuse_dtype(name)
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
