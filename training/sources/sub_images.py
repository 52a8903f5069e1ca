"""Draws the sub-images that PCSR was trained on (the preparation published with its code), without
storing them: squares of 128 px on a grid of 64 px, of photos and of four smaller copies of each.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError

from .photos import Photo, Photos

FACTORS = (1, 0.9, 0.8, 0.7, 0.6)
SIDE_PX, STEP_PX = 128, 64
LEAST_REST_PX = 48
"""One more square lies at the border where more than so many pixels are left over."""
REACH_PX = 8
"""How far around it a pixel of the smallest copy sees, and what rounding up adds to that."""


class SubImages:
    """Cuts patches out of the sub-images of photos, computed when they are drawn.

    Raises:
        UsageError: no copy of any photo is as large as a sub-image.
    """

    in_epochs = True

    def __init__(self, photos: Photos, scale: float) -> None:
        if photos.sizes is None:
            raise ValueError("the sizes of the photos are not known")
        self._photos = photos
        self.reads_files = photos.reads_files
        self._scale = scale
        copies = [
            [math.ceil(n * factor) for n in size] for size in photos.sizes for factor in FACTORS
        ]
        counts = [math.prod(len(starts(n)) for n in copy) for copy in copies]
        self._copies = copies
        self._ends = np.cumsum(counts)
        if not len(self):
            raise UsageError(f"no training photo is at least {SIDE_PX} px wide and high")
        small = counts.count(0)
        self.notes: Sequence[str] = ()
        if small:
            which = f"{small} of {len(counts)} photos and smaller copies of them"
            self.notes = [f"{which} have no sub-images, as a side is below {SIDE_PX} px"]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def place(self, number: int) -> tuple[int, int, int, int]:
        """Returns the photo of a sub-image, its copy (a place in FACTORS), and its top and left
        there. Sub-images are numbered by photo, by copy, and row by row.
        """
        copy = int(np.searchsorted(self._ends, number, side="right"))
        rows, columns = (starts(n) for n in self._copies[copy])
        within = number - int(self._ends[copy]) + len(rows) * len(columns)
        row, column = divmod(within, len(columns))
        return *divmod(copy, len(FACTORS)), rows[row], columns[column]

    def sub_image(self, number: int) -> Photo:
        """Computes a sub-image [128, 128, 3]."""
        photo, copy, top, left = self.place(number)
        return reduced_part(self._photos[photo], FACTORS[copy], top, left)

    def cut(
        self, number: int, random: np.random.Generator, lr_side: int | None
    ) -> tuple[Photo, Photo | None] | None:
        """Cuts as `Source.cut` does; a patch of 128 px is the whole sub-image."""
        side = SIDE_PX if lr_side is None else round(lr_side * self._scale)
        top, left = (int(random.integers(SIDE_PX - side + 1)) for _ in range(2))
        return self.sub_image(number)[top : top + side, left : left + side], None


def starts(length: int) -> list[int]:
    """Lists where sub-images begin along a side."""
    found = list(range(0, length - SIDE_PX + 1, STEP_PX))
    if found and length - (found[-1] + SIDE_PX) > LEAST_REST_PX:
        found.append(length - SIDE_PX)
    return found


def reduced_part(photo: Photo, factor: float, top: int, left: int) -> Photo:
    """Computes 128x128 pixels of `photo` [H, W, 3] reduced as MATLAB's imresize(photo, factor)
    does: to ceil(n * factor) pixels a side, at positions that the factor itself gives, by a cubic
    kernel (a = -0.5) widened by it, edges extended symmetrically, rounded to 8 bits at the end.
    """
    if factor == 1:
        return photo[top : top + SIDE_PX, left : left + SIDE_PX]
    from PIL import Image

    rows, columns = (_reach(first, factor) for first in (top, left))
    height, width = photo.shape[:2]
    part = photo[np.ix_(_mirrored(rows, height), _mirrored(columns, width))].astype(np.float32)
    x, y = left / factor - columns[0], top / factor - rows[0]
    box = (x, y, x + SIDE_PX / factor, y + SIDE_PX / factor)
    reduced = np.empty((SIDE_PX, SIDE_PX, 3), np.float32)
    for channel in range(3):
        plane = Image.fromarray(np.ascontiguousarray(part[..., channel]))
        small = plane.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC, box=box)
        reduced[..., channel] = np.asarray(small)
    return np.clip(np.rint(reduced), 0, 255).astype(np.uint8)


def _reach(first: int, factor: float) -> NDArray[np.int64]:
    """Lists the places of a photo that SIDE_PX pixels of a copy from `first` on see."""
    begin = math.floor(first / factor) - REACH_PX
    return np.arange(begin, math.ceil((first + SIDE_PX) / factor) + REACH_PX)


def _mirrored(places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Brings places outside [0, length) back, the border pixel twice: b a | a b c."""
    places = np.where(places < 0, -1 - places, places)
    return np.where(places >= length, 2 * length - 1 - places, places)
