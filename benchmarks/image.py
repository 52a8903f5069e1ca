"""The image that is upscaled: sample photos side by side, always the same."""

import numpy as np
from numpy.typing import NDArray

from pcsr.metrics import bicubic_resize
from pcsr.runtime.profiler.pictures import filled

Image = NDArray[np.uint8]
Size = tuple[int, int]

PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")
CELL = (150, 225)  # of each photo at half its size: detail as dense as in a shrunken photo


def sample_image(size: Size) -> Image:
    """Makes [h, w, 3] uint8 of (height, width): cells of the photos, every row shifted by one."""
    from skimage import data

    cells = []
    for name in PHOTOS:
        photo: Image = getattr(data, name)()
        half = bicubic_resize(photo, photo.shape[0] // 2, photo.shape[1] // 2)
        cells.append(half[: CELL[0], : CELL[1]])
    rows = [np.concatenate(cells[n:] + cells[:n], axis=1) for n in range(len(cells))]
    return filled(np.concatenate(rows), size)
