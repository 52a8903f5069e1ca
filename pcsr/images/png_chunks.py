"""The chunks of a PNG that libvips does not hand over: texts, what the values mean, animation."""

import struct
import zlib
from typing import BinaryIO, NamedTuple

from pcsr.errors import ImageError

Chunk = tuple[bytes, bytes]
"""Kind and data."""

TEXT = (b"tEXt", b"zTXt", b"iTXt")
COLOUR = (b"cICP", b"mDCV", b"cLLI", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
"""What says which colours the values mean; the first of cICP, iCCP, sRGB and gAMA counts."""
LARGEST_TEXT = 2**24  # bytes of all texts of a file; far above any prompt
_MOST_CHUNKS = 500_000  # those of 4 GiB of pixels, as writers divide them
_XMP = b"XML:com.adobe.xmp\0"
_OVERHEAD = 12  # bytes of a chunk's length, kind and checksum
_LENGTHS = {b"cICP": 4, b"mDCV": 24, b"cLLI": 8, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
_SRGB_GAMMA, _TOLERANCE = 45455, 0.05  # as libpng compares gammas
_SRGB_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_BT709, _LIKE_SRGB = 1, (1, 6, 13, 14, 15)  # primaries and transfers of cICP


class PngChunks(NamedTuple):
    """Holds the chunks of a file that are kept, and what else they say."""

    kept: tuple[Chunk, ...]
    frames: int
    """Of its animation, if there is one that shows more, or another, than the image."""


def read_chunks(file: BinaryIO) -> PngChunks:
    """Reads the chunks around the pixels.

    Raises:
        ImageError: the texts take more than `LARGEST_TEXT`, or there are too many chunks.
    """
    file.seek(8)
    kept: list[Chunk] = []
    frames, texts, count = 0, 0, 0
    before_pixels, shown = True, False
    while len(header := file.read(8)) == 8:
        count += 1
        if count > _MOST_CHUNKS:
            raise ImageError(f"expected at most {_MOST_CHUNKS} chunks, found more; save it again")
        length, kind = struct.unpack(">I4s", header)
        before_pixels = before_pixels and kind != b"IDAT"
        if kind == b"acTL" and length == 8 and before_pixels:
            frames = int.from_bytes(file.read(4), "big")
            length -= 4
        elif kind == b"fcTL" and before_pixels:
            shown = True
        elif kind in TEXT or length == _LENGTHS.get(kind):
            texts += length + _OVERHEAD
            if texts > LARGEST_TEXT:
                raise ImageError(f"its texts take more than {LARGEST_TEXT} bytes; remove them")
            data, checksum = file.read(length), file.read(4)
            if checksum == _checksum(kind, data) and not _is_xmp(kind, data):
                kept.append((kind, data))
            continue
        elif kind == b"IEND":
            break
        file.seek(length + 4, 1)
    is_still = frames == 0 or (frames == 1 and shown)
    return PngChunks(_unique(kept), 0 if is_still else frames)


def _unique(chunks: list[Chunk]) -> tuple[Chunk, ...]:
    """Leaves out what may stand only once and stands there again."""
    seen: set[bytes] = set()
    kept = []
    for kind, data in chunks:
        if kind not in seen:
            kept.append((kind, data))
        if kind in COLOUR:
            seen.add(kind)
    return tuple(kept)


def _is_xmp(kind: bytes, data: bytes) -> bool:
    return kind == b"iTXt" and data.startswith(_XMP)


def encoded(chunk: Chunk) -> bytes:
    """Returns the bytes of a chunk."""
    kind, data = chunk
    return struct.pack(">I", len(data)) + kind + data + _checksum(kind, data)


def profile_chunk(icc: bytes) -> Chunk:
    """Makes the chunk of an ICC profile, padded to a multiple of 4 bytes: libpng takes no other."""
    if len(icc) % 4:
        icc = icc + bytes(-len(icc) % 4)
        # The length stands in front; the checksum (bytes 84 to 99) is zero where there is none.
        icc = struct.pack(">I", len(icc)) + icc[4:84] + bytes(16) + icc[100:]
    return b"iCCP", b"icc\0\0" + zlib.compress(icc)


def foreign_colours(chunks: tuple[Chunk, ...], has_profile: bool) -> str | None:
    """Says why the values are not as sRGB, or as the ICC profile says; None where they are."""
    said = dict(chunks)
    if b"cICP" in said:
        primaries, transfer, matrix, full = said[b"cICP"]
        if primaries == _BT709 and transfer in _LIKE_SRGB and (matrix, full) == (0, 1):
            return None
        return f"a cICP chunk says {primaries}-{transfer}-{matrix}-{full}"
    if has_profile or b"sRGB" in said:
        return None
    gamma = int.from_bytes(said.get(b"gAMA", b""), "big") or _SRGB_GAMMA
    if abs(gamma / _SRGB_GAMMA - 1) > _TOLERANCE:
        return f"a gAMA chunk says {gamma / 1e5:g}"
    places = struct.unpack(">8I", said[b"cHRM"]) if b"cHRM" in said else _SRGB_PRIMARIES
    if any(abs(a - b) > 1000 for a, b in zip(places, _SRGB_PRIMARIES, strict=True)):
        return "a cHRM chunk names other primaries"
    return None


def _checksum(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
