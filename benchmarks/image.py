"""The image that is upscaled: sample photos side by side, always the same, or the user's own."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pcsr.metrics import bicubic_resize

Image = NDArray[np.uint8]
Size = tuple[int, int]

PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")
CELL = (150, 225)  # of each photo at half its size: detail as dense as in a shrunken photo


def sample_image(size: Size) -> Image:
    """Makes [h, w, 3] uint8 of (height, width): cells of the photos, every row shifted by one."""
    cells = [_cell(name) for name in PHOTOS]
    rows, columns = (-(-side // cell) for side, cell in zip(size, CELL, strict=True))
    grid = [
        [cells[(row + column) % len(cells)] for column in range(columns)] for row in range(rows)
    ]
    joined = np.concatenate([np.concatenate(row, axis=1) for row in grid], axis=0)
    return np.ascontiguousarray(joined[: size[0], : size[1]])


def image_from_file(path: Path, size: Size) -> Image:
    """Makes [h, w, 3] uint8 of (height, width) from a file: its upper left part, repeated where it
    is smaller.
    """
    from pcsr.runtime.profiler.pictures import photos

    return photos([path], [size])[0].pixels


def _cell(name: str) -> Image:
    from skimage import data

    photo: Image = getattr(data, name)()
    half = bicubic_resize(photo, photo.shape[0] // 2, photo.shape[1] // 2)
    return half[: CELL[0], : CELL[1]]
