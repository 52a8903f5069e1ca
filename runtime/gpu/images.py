"""The images of callers on a device: this does what `runtime.layout` and `runtime.cpu.alpha` do,
for torch tensors.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

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


def luma_weights(device: torch.device) -> Tensor:
    """Gives the shares [3] of red, green and blue in gray; copying them there waits."""
    return torch.from_numpy(LUMA).to(device)


def from_gray(rgb: Tensor, luma: Tensor, layout: Layout) -> Tensor:
    """Turns [H, W, 3] float32 into [H, W, 1] in the caller's dtype; `luma` is of its device."""
    gray = (rgb @ luma)[..., None]
    return converted(gray, DTYPES[layout.dtype.name])


def converted(image: Tensor, dtype: torch.dtype) -> Tensor:
    """Gives float32 values in [0, 1] in another dtype: uint8 and uint16 are clipped and rounded
    (ties to even), float32 stays as it is.
    """
    if dtype == torch.float32:
        return image
    peak = PEAK[str(dtype).removeprefix("torch.")]
    return (image * peak).round().clamp(0, peak).to(torch.int32).to(dtype)


@dataclass(frozen=True)
class Alpha:
    """What decides how an image with alpha is upscaled."""

    is_flat: bool
    """It has one value everywhere."""
    hides_some: bool
    """Some pixels have 0 (or less), and some have more."""

    @classmethod
    def of(cls, image: Tensor) -> "Alpha":
        """Looks at an image [h, w, 2 or 4], alpha last. The host must know what to compute, so this
        waits for what is queued on the current stream.
        """
        alpha = image[..., -1]
        hidden = alpha.to(torch.float32) <= 0  # uint16 has no arithmetic
        facts = (alpha == alpha[0, 0]).all(), hidden.any() & ~hidden.all()
        return cls(*torch.stack(facts).tolist())


def bleed_colours(image: Tensor) -> Tensor:
    """Returns [h,w,2] or [h,w,4], alpha last, with other colours where alpha is 0 (or below).

    The rest stays as it is. Expects finite values, and alpha that hides some pixels, not all.
    """
    planes = image.permute(2, 0, 1).to(torch.float32)
    weights = planes[-1:].clamp(min=0)
    colours = torch.where(weights == 0, _filled(planes[:-1], weights), planes[:-1])
    if not image.dtype.is_floating_point:
        colours = colours.round().to(torch.int32)
    return torch.cat([colours.permute(1, 2, 0).to(image.dtype), image[..., -1:]], 2)


def _filled(colours: Tensor, weights: Tensor) -> Tensor:
    """Returns [c,h,w] with the colours of larger blocks where the weight [1,h,w] is 0."""
    height, width = weights.shape[1:]
    if max(height, width) == 1:
        return colours
    totals = _means(weights)
    means = torch.where(totals > 0, _means(colours * weights) / totals, 0)
    larger = _filled(means, totals).repeat_interleave(2, 1).repeat_interleave(2, 2)
    return torch.where(weights > 0, colours, larger[:, :height, :width])


def _means(planes: Tensor) -> Tensor:
    # Also of incomplete blocks at the rim: their fewer pixels divide colours and weights alike.
    return avg_pool2d(planes[None], 2, ceil_mode=True)[0]
