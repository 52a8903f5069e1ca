"""The grid says where each output pixel lies on the input: nearest pixel, offset, bilinear taps.

Axes are computed in float32 in the published order of operations (`make_coord`, `grid_sample`),
because exact ties at fractional scales go where float32 rounding sends them. The product in a
position is rounded once, together with the subtraction after it, as the fused multiply-add of
`grid_sample` does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError

MOST_PIXELS = 2**31 - 1

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Axis:
    """One dimension of the output. Each array has an entry per output pixel."""

    nearest: Ints
    """The nearest input pixel."""
    offset: Floats
    """Distance to its centre, in input pixels times 2."""
    cell: float
    """Size of an output pixel in the same unit."""
    lower: Ints
    """The first input pixel of the bilinear interpolation."""
    upper: Ints
    """The second one."""
    weight: Floats
    """The share of `upper`, in [0, 1]."""


@dataclass(frozen=True)
class Grid:
    """The output of an image upscaled by `scale`. Sizes are (height, width)."""

    lr_size: tuple[int, int]
    hr_size: tuple[int, int]
    rows: Axis
    columns: Axis

    @classmethod
    def make(cls, lr_size: tuple[int, int], scale: float) -> "Grid":
        """Makes the grid of H = round(h * scale), W = round(w * scale), ties to even as in the
        published code.
        """
        height, width = hr_size(lr_size, scale)
        rows, columns = make_axis(lr_size[0], height), make_axis(lr_size[1], width)
        return cls(lr_size, (height, width), rows, columns)

    @property
    def pixels(self) -> int:
        """Number of output pixels, H * W."""
        return self.hr_size[0] * self.hr_size[1]

    @property
    def cell(self) -> Floats:
        """Size of an output pixel, [2] (2h/H, 2w/W)."""
        return np.array([self.rows.cell, self.columns.cell], dtype=np.float32)

    def locate(self, pixels: NDArray[np.int64]) -> tuple[Ints, Floats]:
        """Returns, for flat output pixels [N], the row of the nearest input pixel in a row map
        [N] int32, and the offset to it [N, 2].
        """
        i, j = np.divmod(pixels, self.hr_size[1])
        index = self.rows.nearest[i] * np.int32(self.lr_size[1]) + self.columns.nearest[j]
        offset = np.empty((len(pixels), 2), dtype=np.float32)
        offset[:, 0] = self.rows.offset[i]
        offset[:, 1] = self.columns.offset[j]
        return index, offset


def hr_size(lr_size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Returns the (height, width) of the output: round(n * scale), ties to even."""
    return round(lr_size[0] * scale), round(lr_size[1] * scale)


def refuse_huge(lr_size: tuple[int, int], scale: float) -> None:
    """Raises UsageError where an output has more pixels than one call takes."""
    height, width = hr_size(lr_size, scale)
    if height * width > MOST_PIXELS:
        raise UsageError(
            f"scale {scale:g} makes {width}x{height} pixels of this image, more than the "
            f"{MOST_PIXELS} that one call takes; choose a smaller scale or upscale parts"
        )


def make_axis(n_in: int, n_out: int) -> Axis:
    """Makes the axis of n_out output pixels over n_in input pixels."""
    centre = _centres(n_out)
    shifted = (centre + np.float32(1)).astype(np.float64)
    position = ((shifted * n_in - 1) / 2).astype(np.float32)
    nearest = np.clip(np.rint(position), 0, n_in - 1).astype(np.int32)
    inside = np.clip(position, 0, n_in - 1)
    lower = np.floor(inside).astype(np.int32)
    return Axis(
        nearest=nearest,
        offset=(centre - _centres(n_in)[nearest]) * np.float32(n_in),
        cell=float(np.float32(2 / n_out) * np.float32(n_in)),
        lower=lower,
        upper=np.minimum(lower + 1, n_in - 1),
        weight=inside - lower.astype(np.float32),
    )


def _centres(n: int) -> Floats:
    return np.float32(-1 + 1 / n) + np.float32(2 / n) * np.arange(n, dtype=np.float32)
