"""Rectangles of an image, as windows (rows, columns), and which of the output depend on which of
the input.
"""

from dataclasses import replace

import numpy as np

from .grid import Axis, Grid, Ints, Nearest
from .tiling import Window


def grown(window: Window, by_px: int, size: tuple[int, int], multiple: int = 1) -> Window:
    """Returns the window with so many pixels more on each side, as far as an image of `size`
    (height, width) goes; it begins at multiples of `multiple`, and ends at one or with the image.
    """
    rows, columns = (
        slice(
            max(0, part.start - by_px) // multiple * multiple,
            min(length, -(-(part.stop + by_px) // multiple) * multiple),
        )
        for part, length in zip(window, size, strict=True)
    )
    return rows, columns


def pixels_of(window: Window) -> int:
    """Counts the pixels of a window."""
    rows, columns = window
    count: int = (rows.stop - rows.start) * (columns.stop - columns.start)
    return count


def within(window: Window, outer: Window) -> Window:
    """Says where a window lies in another one around it."""
    rows, columns = (
        slice(part.start - around.start, part.stop - around.start)
        for part, around in zip(window, outer, strict=True)
    )
    return rows, columns


class Dependencies:
    """Which pixels of a grid's input each of its output pixels reads: the nearest one, those of the
    bilinear interpolation, and with `has_sides` those of a local ensemble.
    """

    def __init__(self, grid: Grid, has_sides: bool) -> None:
        self._grid = grid
        sides: tuple[tuple[Nearest, ...], ...] = grid.sides if has_sides else ((), ())
        self._read = [
            [axis.nearest, axis.lower, axis.upper, *(side.nearest for side in around)]
            for axis, around in zip((grid.rows, grid.columns), sides, strict=True)
        ]
        self._has_sides = has_sides

    def outputs(self, window: Window) -> Window:
        """Returns the output pixels that read any of these input pixels."""
        rows, columns = (
            slice(
                min(int(np.searchsorted(each, part.start)) for each in read),
                max(int(np.searchsorted(each, part.stop)) for each in read),
            )
            for part, read in zip(window, self._read, strict=True)
        )
        return rows, columns

    def inputs(self, window: Window) -> Window:
        """Returns the input pixels that any of these output pixels reads."""
        rows, columns = (
            slice(
                min(int(each[part.start]) for each in read),
                max(int(each[part.stop - 1]) for each in read) + 1,
            )
            for part, read in zip(window, self._read, strict=True)
        )
        return rows, columns

    def columns(self, hr_columns: slice, lr_columns: slice) -> Grid:
        """Returns the grid of some output columns over an input that was cut to `lr_columns`. Its
        rows are those of the whole image.
        """
        grid = self._grid
        left, width = np.int32(lr_columns.start), lr_columns.stop - lr_columns.start
        cut = Grid(
            (grid.lr_size[0], width),
            (grid.hr_size[0], hr_columns.stop - hr_columns.start),
            grid.rows,
            _cut(grid.columns, hr_columns, left),
        )
        if self._has_sides:
            rows, columns = grid.sides
            first, second = (
                Nearest(_from(side.nearest, hr_columns, left), side.offset[hr_columns])
                for side in columns
            )
            cut.__dict__["sides"] = rows, (first, second)  # its cached property
        return cut


def _cut(axis: Axis, part: slice, first: np.int32) -> Axis:
    return replace(
        axis,
        nearest=_from(axis.nearest, part, first),
        offset=axis.offset[part],
        lower=_from(axis.lower, part, first),
        upper=_from(axis.upper, part, first),
        weight=axis.weight[part],
    )


def _from(places: Ints, part: slice, first: np.int32) -> Ints:
    cut: Ints = places[part] - first
    return cut
