"""The grid says where each output pixel lies on the input: nearest pixel, offset, bilinear taps.

Axes are computed in float32 in the published order of operations (`make_coord`, `grid_sample`),
because exact ties at fractional scales go where float32 rounding sends them. The product in a
position is rounded once, together with the subtraction after it, as the fused multiply-add of
`grid_sample` does.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError

MOST_PIXELS = 2**31 - 1
SHIFT = 1e-6  # of a local ensemble, so that no coordinate lies between two pixels

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Indices = NDArray[np.int64]


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
class Nearest:
    """One dimension of a local ensemble: the input pixel at one side of each output pixel."""

    nearest: Ints
    offset: Floats
    """Distance to its centre, in input pixels times 2."""


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

    @cached_property
    def sides(self) -> tuple[tuple[Nearest, Nearest], tuple[Nearest, Nearest]]:
        """The input pixels (above, below) and (left, right) of a local ensemble."""
        rows, columns = zip(self.lr_size, self.hr_size, strict=True)
        return make_sides(*rows), make_sides(*columns)

    @cached_property
    def reach_px(self) -> int:
        """How many rows a local ensemble reads above or below the nearest one: 1, and more where an
        image is so high (a million rows) that the shift by a constant amounts to rows.
        """
        apart = [np.abs(side.nearest - self.rows.nearest).max() for side in self.sides[0]]
        return int(max(apart))

    def hr_rows(self, lr_rows: slice) -> slice:
        """Returns the output rows whose nearest input row is one of these."""
        if (lr_rows.start, lr_rows.stop) == (0, self.lr_size[0]):
            return slice(0, self.hr_size[0])
        first, stop = np.searchsorted(self.rows.nearest, [lr_rows.start, lr_rows.stop])
        return slice(int(first), int(stop))

    def chunks(self, rows: slice, pixels: int) -> list[slice]:
        """Cuts output rows into ranges of about so many pixels, each of whole input rows."""
        height, width = self.hr_size
        step = max(1, pixels * self.lr_size[0] // (height * width))
        if rows.start >= rows.stop:
            return []
        nearest, seen = self.rows.nearest[rows], self.lr_rows(rows)
        if seen.stop - seen.start <= step:
            return [rows]
        starts = np.searchsorted(nearest, np.arange(seen.start, seen.stop, step)) + rows.start
        return [slice(a, b) for a, b in itertools.pairwise([*starts.tolist(), rows.stop]) if a < b]

    def lr_rows(self, hr_rows: slice) -> slice:
        """Returns the input rows that are nearest to some output rows, at least one."""
        nearest = self.rows.nearest
        return slice(int(nearest[hr_rows.start]), int(nearest[hr_rows.stop - 1]) + 1)

    def locate(self, pixels: NDArray[np.int64], neighbours: int = 1) -> tuple[Ints, Floats]:
        """Returns, for flat output pixels [N], the row of the nearest input pixel in a row map
        [N] int32, and the offset to it [N, 2]. With four neighbours [N, 4] and [N, 4, 2]: (above,
        left), (above, right), (below, left), (below, right).
        """
        i, j = np.divmod(pixels, self.hr_size[1])
        if neighbours == 1:
            return self._located(self.rows, self.columns, i, j)
        corners = itertools.product(*self.sides)
        index, offset = zip(*(self._located(*corner, i, j) for corner in corners), strict=True)
        return np.stack(index, axis=1), np.stack(offset, axis=1)

    def _located(
        self, rows: Axis | Nearest, columns: Axis | Nearest, i: Indices, j: Indices
    ) -> tuple[Ints, Floats]:
        index = rows.nearest[i] * np.int32(self.lr_size[1]) + columns.nearest[j]
        return index, np.stack([rows.offset[i], columns.offset[j]], axis=1)


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
    position = _positions(centre, n_in)
    nearest = _nearest(centre, centre, n_in)
    inside = np.clip(position, 0, n_in - 1)
    lower = np.floor(inside).astype(np.int32)
    return Axis(
        nearest=nearest.nearest,
        offset=nearest.offset,
        cell=float(np.float32(2 / n_out) * np.float32(n_in)),
        lower=lower,
        upper=np.minimum(lower + 1, n_in - 1),
        weight=inside - lower.astype(np.float32),
    )


def make_sides(n_in: int, n_out: int) -> tuple[Nearest, Nearest]:
    """Makes one dimension of a local ensemble: what lies nearest half an input pixel before and
    behind each output pixel, in the order of operations of the LIIF code.
    """
    centre = _centres(n_out)
    least, most = np.float32(-1 + SHIFT), np.float32(1 - SHIFT)
    shifts = (np.float32(side / n_in + SHIFT) for side in (-1, 1))
    before, behind = (
        _nearest(centre, np.clip(centre + shift, least, most), n_in) for shift in shifts
    )
    return before, behind


def _nearest(centre: Floats, at: Floats, n_in: int) -> Nearest:
    """Finds the pixels nearest to coordinates `at`, and the distance of `centre` to them."""
    nearest = np.clip(np.rint(_positions(at, n_in)), 0, n_in - 1).astype(np.int32)
    return Nearest(nearest, (centre - _centres(n_in)[nearest]) * np.float32(n_in))


def _positions(coordinates: Floats, n_in: int) -> Floats:
    """Turns coordinates in [-1, 1] to input pixels."""
    shifted = (coordinates + np.float32(1)).astype(np.float64)
    position: Floats = ((shifted * n_in - 1) / 2).astype(np.float32)
    return position


def _centres(n: int) -> Floats:
    return np.float32(-1 + 1 / n) + np.float32(2 / n) * np.arange(n, dtype=np.float32)
