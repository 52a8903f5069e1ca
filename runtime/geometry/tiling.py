"""Exact tiles of the input: with a halo as wide as the backbone looks, tiles give the whole image's
features. Halos hold real pixels; the network's own zero padding is at the image's border alone.
"""

import itertools
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pcsr.errors import UsageError
from pcsr.text import size_text

TILE_PX = 512
LEAST_CORE_PX = 16

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Tile:
    """A rectangle of the input, as windows (rows, columns)."""

    crop: Window
    """What the backbone sees."""
    core: Window
    """The part of the image that its result is kept for."""
    inner: Window
    """Where the core lies in the crop."""


@dataclass(frozen=True)
class Bands:
    """An image cut into bands of whole rows, from top to bottom, and each band into tiles."""

    rows: tuple[slice, ...]
    tiles: tuple[tuple[Tile, ...], ...]


def split(size: tuple[int, int], halo_px: int | None, tile_px: int = TILE_PX) -> list[Tile]:
    """Returns tiles whose cores cover an image of `size` (height, width) once, each at most tile_px
    wide and high; one tile where the backbone looks everywhere (halo_px is None).
    """
    return [tile for tiles in square_bands(size, halo_px, tile_px).tiles for tile in tiles]


def square_bands(
    size: tuple[int, int],
    halo_px: int | None,
    tile_px: int,
    multiple: int = 1,
    part: slice | None = None,
) -> Bands:
    """Returns bands whose tiles have cores of at most tile_px x tile_px. Crops begin at multiples
    of `multiple`, and end at one or with the image. part: the rows that are covered, if not all;
    crops end with them and their halo.
    """
    return _bands(size, halo_px, (tile_px, tile_px), multiple=multiple, part=part)


def fitting(
    size: tuple[int, int],
    halo_px: int | None,
    limit: tuple[int, int] | None,
    least: tuple[int, int] = (1, 1),
    multiple: int = 1,
) -> list[Tile]:
    """Returns as few tiles as can be, whose crops, halo included, are at most `limit` (height,
    width) and at least `least`.

    Raises:
        UsageError: the image is smaller than `least`, or larger than `limit` and cannot be cut into
            tiles with such a halo.
    """
    if size[0] < least[0] or size[1] < least[1]:
        raise UsageError(
            f"the image has {size_text(size)} pixels and the engine takes at least "
            f"{size_text(least)}; build it for a smaller shape"
        )
    if limit is None or (size[0] <= limit[0] and size[1] <= limit[1]):
        return split(size, None)
    if halo_px is not None:
        halo_px = -(-halo_px // multiple) * multiple
    if halo_px is None or min(limit) < 2 * halo_px + max(LEAST_CORE_PX, multiple):
        raise UsageError(
            f"the image has {size_text(size)} pixels and the engine takes at most "
            f"{size_text(limit)}, too few for tiles of this network; build it for a larger shape"
        )
    rows, columns = (
        length if length <= most else most - 2 * halo_px
        for length, most in zip(size, limit, strict=True)
    )
    bands = _bands(size, halo_px, (rows, columns), least, multiple)
    return [tile for tiles in bands.tiles for tile in tiles]


def least_work_bands(
    size: tuple[int, int],
    halo_px: int | None,
    crop_pixels: int,
    band_pixels: int = sys.maxsize,
    multiple: int = 1,
    part: slice | None = None,
) -> Bands:
    """Returns bands of at most about band_pixels, whose tiles see at most `crop_pixels` pixels
    each, halo included, with the least work in sum. Cores do not get smaller than LEAST_CORE_PX.
    part: as of `square_bands`.
    """
    height, width = size
    if halo_px is None or (part is None and height * width <= min(crop_pixels, band_pixels)):
        return _bands(size, None, size)
    if part is not None:
        height = part.stop - part.start
    highest = max(LEAST_CORE_PX, band_pixels // width)
    choices = []
    for across in range(1, math.ceil(width / LEAST_CORE_PX) + 1):
        seen = _seen(width, halo_px, across)
        rows = min(height, highest, crop_pixels // seen - 2 * halo_px)
        if rows >= min(height, LEAST_CORE_PX):
            down = math.ceil(height / rows)
            work = across * seen * down * _seen(height, halo_px, down)
            choices.append((work, rows, math.ceil(width / across)))
    least = (0, LEAST_CORE_PX, LEAST_CORE_PX)
    _, rows, columns = min(choices, default=least)
    return _bands(size, halo_px, (rows, columns), multiple=multiple, part=part)


def seen_pixels(tiles: Iterable[Tile]) -> int:
    """Counts the pixels that the backbone computes of these tiles, halos included."""
    windows = (tile.crop for tile in tiles)
    return sum((y.stop - y.start) * (x.stop - x.start) for y, x in windows)


def parse_tile(text: str) -> int | None:
    """Reads the side of a tile's core in input pixels; None for `auto`.

    Raises:
        UsageError: neither of them.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < LEAST_CORE_PX:
        raise UsageError(
            f"tile must be auto or a number of at least {LEAST_CORE_PX} input pixels, found {text}"
        )
    return int(text)


def _bands(
    size: tuple[int, int],
    halo_px: int | None,
    core_px: tuple[int, int],
    least_px: tuple[int, int] = (1, 1),
    multiple: int = 1,
    part: slice | None = None,
) -> Bands:
    if halo_px is None:
        core_px, halo_px = size, 0
    parts = (part or slice(0, size[0]), slice(0, size[1]))
    rows, columns = (
        list(_aligned(length, halo_px, core, least, multiple, covered))
        for length, core, least, covered in zip(size, core_px, least_px, parts, strict=True)
    )
    return Bands(
        tuple(row[1] for row in rows),
        tuple(
            tuple(
                Tile((row[0], column[0]), (row[1], column[1]), (row[2], column[2]))
                for column in columns
            )
            for row in rows
        ),
    )


def _aligned(
    length: int, halo_px: int, core_px: int, least_px: int, multiple: int, covered: slice
) -> Iterator[tuple[slice, slice, slice]]:
    """Yields the parts of an image that is padded to a multiple, without what is padded."""
    whole, halo, least = (-(-px // multiple) for px in (length, halo_px, least_px + multiple - 1))
    begin, end = covered.start // multiple, -(-covered.stop // multiple)
    seen = slice(max(0, begin - halo), min(whole, end + halo))
    core_px = max(1, core_px // multiple)
    for crop, core, inner in _parts(seen, slice(begin, end), halo, core_px, least):
        begins, stop = crop.start * multiple, min(length, core.stop * multiple)
        yield (
            slice(begins, min(length, crop.stop * multiple)),
            slice(core.start * multiple, stop),
            slice(inner.start * multiple, stop - begins),
        )


def _parts(
    image: slice, covered: slice, halo_px: int, core_px: int, least_px: int
) -> Iterator[tuple[slice, slice, slice]]:
    """Yields (crop, core, inner) along one axis, in nearly equal parts. All crops have the same
    length, or memory of one shape would lie idle beside that of another; at the image's ends they
    look further inwards.

    A length of 100 with a halo of 6, in 2 parts: the crops are 0-62 and 38-100, the cores 0-50 and
    50-100, the inner parts 0-50 and 12-62.
    """
    length = covered.stop - covered.start
    count = math.ceil(length / core_px)
    edges = [covered.start + length * i // count for i in range(count + 1)]
    wanted = max(least_px, math.ceil(length / count) + 2 * halo_px)
    seen = min(image.stop - image.start, wanted)
    for start, stop in itertools.pairwise(edges):
        first = min(max(image.start, start - halo_px), image.stop - seen)
        yield slice(first, first + seen), slice(start, stop), slice(start - first, stop - first)


def _seen(length: int, halo_px: int, count: int) -> int:
    """Returns the length of a crop where `count` parts are made."""
    return min(length, math.ceil(length / count) + 2 * halo_px)
