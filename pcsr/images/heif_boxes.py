"""The boxes of an AVIF: is it an animation, and which colours do its values mean."""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from pcsr.errors import ImageError

from .png_chunks import Chunk

_SEQUENCES = (b"avis", b"msf1", b"hevc", b"hevx")
_LARGEST_BOX = 2**22  # bytes; what describes a picture takes some hundred
_BT709, _SRGB = 1, 13


def refuse_sequence(file: BinaryIO) -> None:
    """Raises ImageError for an animation."""
    boxes = dict(_boxes(file))
    brands = boxes.get(b"ftyp", b"")
    movie = boxes.get(b"moov")
    if movie is not None and any(brand in brands for brand in _SEQUENCES):
        place = movie.find(b"stsz") + 12  # behind its version and its size of all samples
        frames = int.from_bytes(movie[place : place + 4], "big") if place > 12 else 0
        if frames != 1:
            raise ImageError(animation(frames))


def animation(frames: int, tool: str = "ffmpeg -i FILE frame%04d.png") -> str:
    """Says that an animation is not taken, and what to do with it."""
    count = f"an animation of {frames} frames" if frames else "an animation"
    return f"expected one picture, found {count}; extract what you want first ({tool})"


def colour_chunks(file: BinaryIO) -> tuple[Chunk, ...]:
    """Returns the PNG chunk that says which colours its RGB values mean, where it says so and they
    are not those of sRGB.
    """
    meta = dict(_boxes(file)).get(b"meta", b"")
    place = meta.find(b"colrnclx") + 8
    has_profile = b"colrprof" in meta or b"colrrICC" in meta  # it counts more
    if has_profile or place < 8 or len(meta) < place + 7:
        return ()
    primaries, transfer = struct.unpack_from(">HH", meta, place)
    if primaries in (2, _BT709) and transfer in (1, 2, 6, _SRGB, 14, 15):
        return ()
    return ((b"cICP", bytes([primaries & 255, transfer & 255, 0, 1])),)


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and content (its first part) of the outermost boxes."""
    end = file.seek(0, os.SEEK_END)
    offset = 0
    while offset < end:
        file.seek(offset)
        header = file.read(8)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header)
        used = 8
        if length == 1:
            length, used = int.from_bytes(file.read(8), "big"), 16
        length = length or end - offset
        if length < used:
            return
        yield kind, file.read(min(length - used, _LARGEST_BOX))
        offset += length
