"""The bands of output rows that a frame is cut into."""

import itertools
import math
from dataclasses import dataclass

from pcsr.errors import UsageError
from pcsr.runtime.geometry.grid import Axis, Grid, Nearest

# Input rows of a band beyond its share: those of its neighbours, and rounding; with four neighbours
# of each pixel, one more on each side.
SEEN_BESIDE = {1: 3, 4: 5}


@dataclass(frozen=True)
class FrameBand:
    """Output rows that are computed together."""

    seen: slice
    """The computed rows: those that are kept, and the neighbours that refinement needs."""
    kept: slice
    """The rows of the result; the bands of a frame divide them."""
    lr_rows: slice
    """The input rows that the computed ones are made from: their nearest, or their neighbours."""

    @property
    def inner(self) -> slice:
        """The kept rows, counted from the first computed one."""
        return slice(self.kept.start - self.seen.start, self.kept.stop - self.seen.start)


def make_bands(
    grid: Grid, most_pixels: int, most_lr_pixels: int | None = None, neighbours: int = 1
) -> list[FrameBand]:
    """Cuts an output into bands: a single one where the output has at most `most_pixels` and the
    input at most `most_lr_pixels`, else as few equal ones as that takes. `neighbours`: how many
    input pixels an output pixel is made from, at most.

    Raises:
        UsageError: the input is too wide for bands of so few pixels.
    """
    (lr_height, lr_width), (height, width) = grid.lr_size, grid.hr_size
    if most_lr_pixels is not None and lr_height * lr_width > most_lr_pixels:
        lr_rows = most_lr_pixels // lr_width - SEEN_BESIDE[neighbours]
        if lr_rows < 1:
            raise UsageError(
                f"the image is {lr_width} pixels wide and the engine takes {most_lr_pixels} pixels "
                "at a time; build it for a larger shape"
            )
        most_pixels = min(most_pixels, max(1, lr_rows * height // lr_height) * width)
    count = min(height, math.ceil(height * width / most_pixels))
    bands = []
    for start, stop in itertools.pairwise(height * i // count for i in range(count + 1)):
        seen = slice(max(0, start - 1), min(height, stop + 1))
        bands.append(FrameBand(seen, slice(start, stop), _lr_rows(grid, seen, neighbours)))
    return bands


def _lr_rows(grid: Grid, seen: slice, neighbours: int) -> slice:
    axes: list[Axis | Nearest] = [grid.rows, *(grid.sides[0] if neighbours > 1 else ())]
    ends = [axis.nearest[seen][[0, -1]].tolist() for axis in axes]
    return slice(min(first for first, _ in ends), max(last for _, last in ends) + 1)
