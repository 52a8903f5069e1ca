"""Exact tiles of the input: with a halo as wide as the backbone looks, tiles give the whole image's
features. Real pixels inside the image, the network's own zero padding only at the image's border.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

TILE_PX = 512  # about 2 GiB of working memory for CARN; the halo costs it 15 % more work

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Tile:
    """Windows (rows, columns). crop: what the backbone sees. core: the part of the image that its
    result is kept for. inner: where the core lies in the crop.
    """

    crop: Window
    core: Window
    inner: Window


def split(size: tuple[int, int], halo_px: int | None, tile_px: int = TILE_PX) -> list[Tile]:
    """Tiles whose cores cover an image of `size` (height, width) once, each at most tile_px wide
    and high. One tile where the backbone looks everywhere (halo_px is None).
    """
    if halo_px is None:
        tile_px, halo_px = max(size), 0
    rows, columns = (list(_parts(length, halo_px, tile_px)) for length in size)
    return [
        Tile((row[0], column[0]), (row[1], column[1]), (row[2], column[2]))
        for row in rows
        for column in columns
    ]


def _parts(length: int, halo_px: int, tile_px: int) -> Iterator[tuple[slice, slice, slice]]:
    """(crop, core, inner) along one axis, in nearly equal parts."""
    count = math.ceil(length / tile_px)
    edges = [length * i // count for i in range(count + 1)]
    for start, stop in itertools.pairwise(edges):
        first, last = max(0, start - halo_px), min(length, stop + halo_px)
        yield slice(first, last), slice(start, stop), slice(start - first, stop - first)
