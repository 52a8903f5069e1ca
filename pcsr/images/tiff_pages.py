"""The directories of a TIFF: which is the picture, and what libvips would say in its own words."""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pcsr.errors import ImageError

_MOST_PAGES = 10_000
_MOST_TAGS = 512  # that are looked at in a directory; they are sorted, and ours come early
_SUBFILE, _OLD_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 258, 259, 262
_PLANES, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 284, 322, 323, 339
_CHANNELS, _SUB_DIRECTORIES, _DNG_VERSION = 277, 330, 50706
_REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType
_OLD_REDUCED = 2
_TAGS = {
    _SUBFILE,
    _OLD_SUBFILE,
    _BITS,
    _COMPRESSION,
    _PHOTOMETRIC,
    _TILE_WIDTH,
    _TILE_HEIGHT,
    _SAMPLE_FORMAT,
    _PLANES,
    _CHANNELS,
    _SUB_DIRECTORIES,
    _DNG_VERSION,
}
_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""How integer types are coded, for `struct`."""
_GREYS_RGB_CMYK = (0, 1, 2, 3, 5)  # photometric interpretations: grey, RGB, palette, CMYK
_YCBCR, _CIELAB = 6, 8
_JPEG = (6, 7)  # compressions that libvips turns into RGB
_READABLE_BITS = (1, 2, 4, 8, 16, 32)
_SAMPLES = {1: "unsigned", 2: "signed", 3: "float"}
_WHITE_IS_ZERO, _RGB = 0, 2  # photometric interpretations
_FLOAT, _HALF_BITS, _SEPARATE = 3, 16, 2  # sample format, its bits, planes
_LARGEST_TILE = 2**26  # pixels

Tags = dict[int, int]
"""The first value of each integer tag."""


class _Kind(NamedTuple):
    counting: str
    """How the number of tags is coded, for `struct`."""
    offset: str
    """How offsets in the file are."""
    entry: int
    """Bytes of a tag."""

    @property
    def order(self) -> str:
        """That of the bytes."""
        return self.counting[0]

    @property
    def width(self) -> int:
        """Bytes of an offset, and of a value that stands in the tag itself."""
        return struct.calcsize(self.offset)


def picture_page(file: BinaryIO) -> int:
    """Returns the number of the directory that holds the picture. Thumbnails, reduced copies and
    masks beside it do not count.

    Raises:
        ImageError: it has several pages, or is of a kind that libvips cannot decode.
    """
    directories = list(_directories(file))
    full = [number for number, tags in enumerate(directories) if not _is_secondary(tags)]
    if len(full) > 1:
        count = f"{_MOST_PAGES} or more" if len(directories) == _MOST_PAGES else len(full)
        raise ImageError(f"expected one page, found {count}; extract one first")
    page = full[0] if full else 0
    if page < len(directories):
        _refuse_unreadable(directories[page], is_secondary=not full)
    return page


def _refuse_unreadable(tags: Tags, is_secondary: bool) -> None:
    if _DNG_VERSION in tags or (is_secondary and _SUB_DIRECTORIES in tags):
        raise ImageError("found the raw data of a camera; develop it to TIFF or JPEG first")
    bits, photometric = tags.get(_BITS, 8), tags.get(_PHOTOMETRIC)
    if photometric == _CIELAB and bits == 8:
        raise ImageError(
            "found 8-bit CIELab, which libvips cannot decode; convert it to RGB, or 16-bit CIELab"
        )
    if photometric == _YCBCR and tags.get(_COMPRESSION) not in _JPEG:
        raise ImageError(
            "found YCbCr without JPEG compression, which libvips takes for RGB; convert it to RGB"
        )
    if photometric not in (*_GREYS_RGB_CMYK, _YCBCR, _CIELAB, None):
        raise ImageError(
            "expected grey, RGB, palette, CMYK, YCbCr or CIELab, found photometric interpretation "
            f"{photometric}; convert it to RGB"
        )
    if bits not in _READABLE_BITS:
        kind = _SAMPLES.get(tags.get(_SAMPLE_FORMAT, 1), "other")
        raise ImageError(
            "expected samples of 8 or 16 bit unsigned or 16 or 32 bit float, found "
            f"{bits} bit {kind}; convert it first"
        )
    if _is_misread(tags):
        raise ImageError(
            "found separate planes, or inverted floats, of a kind that libvips decodes wrongly; "
            "store the channels pixel by pixel, 0 for black"
        )
    if tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0) > _LARGEST_TILE:
        size = f"{tags[_TILE_WIDTH]}x{tags[_TILE_HEIGHT]}"
        raise ImageError(f"expected tiles of at most {_LARGEST_TILE} pixels, found {size}")


def _is_misread(tags: Tags) -> bool:
    photometric, is_float = tags.get(_PHOTOMETRIC), tags.get(_SAMPLE_FORMAT) == _FLOAT
    if tags.get(_PLANES) == _SEPARATE and tags.get(_CHANNELS, 1) > 1:
        return photometric != _RGB or (is_float and tags.get(_BITS) == _HALF_BITS)
    return photometric == _WHITE_IS_ZERO and is_float


def _is_secondary(tags: Tags) -> bool:
    if _SUBFILE in tags:
        return bool(tags[_SUBFILE] & _REDUCED_OR_MASK)
    return tags.get(_OLD_SUBFILE) == _OLD_REDUCED


def _directories(file: BinaryIO) -> Iterator[Tags]:
    """Yields the main directories as far as they can be read: what is damaged, libvips will say."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(16)
    order = "<" if start[:1] == b"I" else ">"
    is_big = start[2:4] in (b"+\0", b"\0+")
    kind = _Kind(f"{order}Q", f"{order}Q", 20) if is_big else _Kind(f"{order}H", f"{order}I", 12)
    width = struct.calcsize(kind.counting)
    offset = _number(kind.offset, start[8:16] if is_big else start[4:8])
    seen: set[int] = set()
    while 0 < offset < end and offset not in seen and len(seen) < _MOST_PAGES:
        seen.add(offset)
        file.seek(offset)
        count = _number(kind.counting, file.read(width))
        entries = file.read(min(count, _MOST_TAGS) * kind.entry)
        if not entries:
            return
        yield _tags(file, entries, kind)
        file.seek(min(offset + width + count * kind.entry, end))
        offset = _number(kind.offset, file.read(struct.calcsize(kind.offset)))


def _tags(file: BinaryIO, entries: bytes, kind: _Kind) -> Tags:
    tags = {}
    for first in range(0, len(entries) - kind.entry + 1, kind.entry):
        tag, sort = struct.unpack_from(f"{kind.order}HH", entries, first)
        code = _CODES.get(sort)
        if tag in _TAGS and code:
            count = _number(kind.offset, entries[first + 4 : first + kind.entry][: kind.width])
            value = entries[first + 4 + kind.width : first + kind.entry]
            if count * struct.calcsize(code) > kind.width:
                file.seek(min(_number(kind.offset, value), 2**32))
                value = file.read(8)
            tags[tag] = _number(kind.order + code, value[: struct.calcsize(code)])
    return tags


def _number(code: str, data: bytes) -> int:
    """Reads one number; 0 where the file has ended."""
    return int(struct.unpack(code, data)[0]) if len(data) == struct.calcsize(code) else 0
