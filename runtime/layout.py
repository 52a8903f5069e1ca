"""The layout of pixel arrays, as callers hold them and as the network takes and gives them."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import ImageError

Floats = NDArray[np.float32]
FLOAT_RANGE = (-1.0, 2.0)  # room for overshoot around 0..1; data on another scale lie outside
FLOATS = ("float16", "float64", "bfloat16")
CHANNELS_FIRST = (1, 3, 4)
PEAK = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Layout:
    """Describes how an image is stored: [h, w] or [h, w, channels] of uint8, uint16 or float32
    (0..1).
    """

    dtype: np.dtype[Any]
    channels: int
    """0 for [h, w] gray; else 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA."""

    @classmethod
    def of(cls, image: NDArray[Any]) -> "Layout":
        """Returns the layout of an image.

        Raises:
            ImageError: a dtype or shape that is not taken, or an empty image.
        """
        channels = image.shape[2] if image.ndim == 3 else 0
        if image.ndim not in (2, 3) or channels > 4 or image.size == 0:
            raise ImageError(
                "expected an image [height, width] or [height, width, 1 to 4], found shape "
                f"{list(image.shape)}{_advice_on_shape(image.shape)}"
            )
        refuse_dtype(_name(image.dtype))
        return _kept(image.dtype, channels)

    @property
    def has_alpha(self) -> bool:
        """Tells whether the last channel is alpha."""
        return self.channels in (2, 4)

    @property
    def is_gray(self) -> bool:
        """Tells whether one channel carries the picture."""
        return self.channels < 3

    @cached_property
    def working_dtype(self) -> np.dtype[Any]:
        """The dtype that the network's RGB is finished in: the caller's; float32 for gray."""
        return np.dtype(np.float32) if self.is_gray else self.dtype.newbyteorder("=")

    def check_values(self, image: NDArray[Any]) -> None:
        """Raises ImageError for a float image with NaN or values far from [0, 1], in alpha too.

        One pass over float images; integers are not looked at.
        """
        if self.dtype.kind != "f":
            return
        low, high = image.min(), image.max()
        if not (low >= FLOAT_RANGE[0] and high <= FLOAT_RANGE[1]):
            raise ImageError(
                f"the image holds NaN or values beyond {FLOAT_RANGE[0]:g}..{FLOAT_RANGE[1]:g} "
                f"(found {low:g}..{high:g}); expected nominally [0, 1]: divide 0..255 by 255"
            )

    def to_network(self, image: NDArray[Any], out: Floats | None = None) -> Floats:
        """Turns [h, w(, c)] into [1, 3, h, w] float32 RGB in [0, 1], without alpha, and writes it
        into `out` where that is given.

        Gray is repeated.

        Raises:
            ImageError: as `check_values`.
        """
        self.check_values(image)
        colour = image.reshape(*image.shape[:2], -1)[..., : 1 if self.is_gray else 3]
        shape = (1, 3, *image.shape[:2])
        planes: Floats = np.empty(shape, dtype=np.float32) if out is None else out
        planes[0] = colour.transpose(2, 0, 1)
        planes /= np.float32(PEAK[_name(self.dtype)])
        return planes

    def from_network(self, rgb: Floats) -> NDArray[Any]:
        """Turns [H, W, 3] float32 in [0, 1] into the caller's dtype: [H, W, 3], or gray [H, W, 1].

        Integers are clipped and rounded (ties to even); float32 is left as it is, overshoots
        included.
        """
        return to_dtype(_luma(rgb)[..., None] if self.is_gray else rgb, self.dtype)


_kept = lru_cache(64)(Layout)


@lru_cache(64)
def _name(dtype: np.dtype[Any]) -> str:
    """Gives `dtype.name`, which NumPy puts together anew each time."""
    return str(dtype.name)


def _luma(rgb: Floats) -> Floats:
    # Not rgb @ LUMA: the order of its sums depends on the shape, and libpcsr has this one.
    luma: Floats = rgb[..., 0] * LUMA[0]
    luma += rgb[..., 1] * LUMA[1]
    luma += rgb[..., 2] * LUMA[2]
    return luma


def refuse_dtype(name: str) -> None:
    """Raises ImageError for a dtype of another name than uint8, uint16 and float32."""
    if name in PEAK:
        return
    advice = "convert them first"
    if name in FLOATS:
        advice += ", as astype(np.float32), with values in [0, 1]"
    if name == "bool":
        advice += ", as image.astype(np.uint8) * 255"
    raise ImageError(f"expected uint8, uint16 or float32 pixels, found {name}; {advice}")


def _advice_on_shape(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[0] in CHANNELS_FIRST and shape[2] > 4:
        return (
            "; [channels, height, width] is transposed first: image.transpose(1, 2, 0), of a "
            "tensor image.permute(1, 2, 0)"
        )
    return ""


def to_dtype(image: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Turns floats nominally in [0, 1] into uint8 or uint16, clipped and rounded (ties to even); as
    float32 they are left alone.
    """
    if dtype.kind == "f":
        return image
    scaled = image * np.float32(PEAK[dtype.name])
    np.rint(scaled, out=scaled)
    return np.clip(scaled, 0, PEAK[dtype.name], out=scaled).astype(dtype)


RGB8 = Layout(np.dtype(np.uint8), 3)


def as_rgb8(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Turns any image that `Layout` takes into [h, w, 3] uint8: gray is repeated, alpha left out.

    Raises:
        ImageError: as `Layout.of` and `Layout.to_network`.
    """
    layout = Layout.of(image)
    if layout == RGB8:
        return image
    return RGB8.from_network(layout.to_network(image)[0].transpose(1, 2, 0))
