"""The layout of pixel arrays, as callers hold them and as the network takes and gives them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import ImageError

Floats = NDArray[np.float32]
LARGEST = 1e6  # of a float image
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
                f"{list(image.shape)}"
            )
        if image.dtype.name not in PEAK:
            raise ImageError(
                f"expected uint8, uint16 or float32 pixels, found {image.dtype}; convert them first"
            )
        return cls(image.dtype, channels)

    @property
    def has_alpha(self) -> bool:
        """Tells whether the last channel is alpha."""
        return self.channels in (2, 4)

    @property
    def is_gray(self) -> bool:
        """Tells whether one channel carries the picture."""
        return self.channels < 3

    @property
    def working_dtype(self) -> np.dtype[Any]:
        """The dtype that the network's RGB is finished in: the caller's; float32 for gray."""
        return np.dtype(np.float32) if self.is_gray else self.dtype.newbyteorder("=")

    def refuse_nan(self, image: NDArray[Any]) -> None:
        """Raises ImageError for a float image with NaN or enormous values, in alpha too."""
        if self.dtype.kind == "f" and not (np.abs(image) < LARGEST).all():
            raise ImageError(
                f"the image holds NaN or values beyond {LARGEST:g}; expected nominally [0, 1]"
            )

    def to_network(self, image: NDArray[Any]) -> Floats:
        """Turns [h, w(, c)] into [1, 3, h, w] float32 RGB in [0, 1], without alpha.

        Gray is repeated.

        Raises:
            ImageError: as `refuse_nan`.
        """
        self.refuse_nan(image)
        colour = image.reshape(*image.shape[:2], -1)[..., : 1 if self.is_gray else 3]
        planes = np.broadcast_to(colour.transpose(2, 0, 1), (3, *image.shape[:2]))
        return np.ascontiguousarray(planes[None], dtype=np.float32) / np.float32(
            PEAK[self.dtype.name]
        )

    def from_network(self, rgb: Floats) -> NDArray[Any]:
        """Turns [H, W, 3] float32 in [0, 1] into the caller's dtype: [H, W, 3], or gray [H, W, 1].

        Integers are clipped and rounded (ties to even); float32 is left as it is, overshoots
        included.
        """
        return to_dtype((rgb @ LUMA)[..., None] if self.is_gray else rgb, self.dtype)


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
