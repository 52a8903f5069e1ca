"""Images in memory as a C program may hold them: any format, order, layout and strides."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Pixels = NDArray[Any]
FORMATS = {"uint8": 0, "uint16": 1, "float32": 2}
PATTERN = 0xA5  # what memory between rows holds


@dataclass(frozen=True)
class Form:
    """How an image lies in memory. Strides are padded by so many values; `bottom_up` stores the
    last row first, so that the row stride is negative.
    """

    bgr: bool = False
    planar: bool = False
    row_padding: int = 0
    plane_padding: int = 0
    bottom_up: bool = False

    def strides(self, shape: tuple[int, int, int], size: int) -> tuple[int, int]:
        """Bytes between rows and between planes of [h, w, c] values of a size."""
        height, width, channels = shape
        row = (width * (1 if self.planar else channels) + self.row_padding) * size
        return row, row * height + self.plane_padding * size if self.planar else 0

    def bytes_of(self, shape: tuple[int, int, int], size: int) -> int:
        """The least memory that holds it: nothing behind the last value."""
        height, width, channels = shape
        row, plane = self.strides(shape, size)
        last_row = width * (1 if self.planar else channels) * size
        return plane * (channels - 1 if self.planar else 0) + row * (height - 1) + last_row

    def offset(self, shape: tuple[int, int, int], size: int) -> int:
        """Where the top row begins."""
        return self.strides(shape, size)[0] * (shape[0] - 1) if self.bottom_up else 0

    def view(self, memory: NDArray[np.uint8], like: np.dtype[Any], shape: Any) -> Pixels:  # noqa: ANN401
        """The pixels [h, w, c] within memory, in RGB."""
        row, plane = self.strides(shape, like.itemsize)
        steps = (like.itemsize, plane) if self.planar else (shape[2] * like.itemsize, like.itemsize)
        flat = memory[: len(memory) // like.itemsize * like.itemsize].view(like)
        pixels = as_strided(flat, shape, (row, *steps))
        pixels = pixels[::-1] if self.bottom_up else pixels
        if self.bgr and shape[2] > 2:
            pixels = pixels[..., [2, 1, 0, *range(3, shape[2])]]
        return pixels

    def stored(self, image: Pixels) -> NDArray[np.uint8]:
        """An image [h, w, c] as memory."""
        size = image.dtype.itemsize
        memory = np.full(self.bytes_of(image.shape, size), PATTERN, np.uint8)
        plain = Form(False, self.planar, self.row_padding, self.plane_padding, self.bottom_up)
        order = [2, 1, 0, *range(3, image.shape[2])] if self.bgr and image.shape[2] > 2 else slice(None)
        plain.view(memory, image.dtype, image.shape)[...] = image[..., order]
        return memory

    def fields(self, shape: tuple[int, int, int], size: int, prefix: str = "") -> dict[str, Any]:
        """Describes it to the driver."""
        row, plane = self.strides(shape, size)
        is_dense = not (self.row_padding or self.plane_padding or self.bottom_up)
        return {
            f"{prefix}order": int(self.bgr),
            f"{prefix}layout": int(self.planar),
            f"{prefix}row_stride": 0 if is_dense else -row if self.bottom_up else row,
            f"{prefix}plane_stride": 0 if is_dense else plane,
            f"{prefix}offset": self.offset(shape, size),
        }


DENSE = Form()
