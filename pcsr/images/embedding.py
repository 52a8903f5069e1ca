"""Metadata that libvips would change or leave out is put into the file that it wrote."""

import struct
from typing import IO

from .exif import resolution_exif
from .formats import Format
from .picture import DPI_72, Metadata
from .png_chunks import COLOUR, TEXT, Chunk, encoded, profile_chunk

_HEAD = {"PNG": 33, "JPEG": 2}
"""Bytes before the place for it: signature and IHDR; SOI."""
_MM_PER_INCH = 25.4
_EXIF_FLAG, _ALPHA_FLAG = 8, 16  # of a WebP's VP8X
_LARGEST_SEGMENT = 2**16 - 1  # bytes of a JPEG's, with its length


class Embedded:
    """Puts metadata into one file: EXIF, what holds a JPEG's resolution, a PNG's ICC profile and
    other chunks.
    """

    def __init__(
        self, form: Format, exif: bytes | None, icc: bytes | None, metadata: Metadata
    ) -> None:
        self._form, self._exif, self._extra = form, exif, b""
        if form.name == "PNG":
            self._extra = _chunks(exif, icc, metadata.chunks)
        elif form.name == "JPEG":
            self._extra = _jfif(metadata.resolution) + _segment(exif)
        elif form.name == "WebP" and not exif and metadata.resolution != DPI_72:
            self._exif = resolution_exif(metadata.resolution)

    def leave_room(self, file: IO[bytes]) -> None:
        """Goes to where libvips begins to write."""
        file.seek(len(self._extra))

    def put_into(self, file: IO[bytes]) -> None:
        """Completes what libvips wrote."""
        if self._extra:
            head = _HEAD[self._form.name]
            file.seek(len(self._extra))
            start = file.read(head)
            file.seek(0)
            file.write(start + self._extra)
        elif self._form.name == "WebP" and self._exif:
            file.seek(0)
            whole = with_exif(file.read(), self._exif)
            file.seek(0)
            file.write(whole)
        file.flush()


def _chunks(exif: bytes | None, icc: bytes | None, others: tuple[Chunk, ...]) -> bytes:
    colour = [chunk for chunk in others if chunk[0] in COLOUR]
    text = [chunk for chunk in others if chunk[0] in TEXT]
    profile = [profile_chunk(icc)] if icc else []
    own = [(b"eXIf", exif)] if exif else []
    return b"".join(map(encoded, [*colour, *profile, *own, *text]))


def _jfif(resolution: tuple[float, float]) -> bytes:
    across, down = (min(max(round(n * _MM_PER_INCH), 1), 2**16 - 1) for n in resolution)
    body = struct.pack(">5sHBHHBB", b"JFIF", 0x0102, 1, across, down, 0, 0)
    return b"\xff\xe0" + struct.pack(">H", len(body) + 2) + body


def _segment(exif: bytes | None) -> bytes:
    body = b"Exif\0\0" + (exif or b"")
    if not exif or len(body) + 2 > _LARGEST_SEGMENT:
        return b""
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def with_exif(webp: bytes, exif: bytes) -> bytes:
    """Returns a WebP file with EXIF."""
    kind = webp[12:16]
    if kind == b"VP8X":
        chunks = bytearray(webp[12:])
        chunks[8] |= _EXIF_FLAG
    else:
        width, height, flags = _webp_size(webp)
        canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        head = struct.pack("<4sIB3x", b"VP8X", 10, flags | _EXIF_FLAG)
        chunks = bytearray(head + canvas + webp[12:])
    chunks += struct.pack("<4sI", b"EXIF", len(exif)) + exif + bytes(len(exif) % 2)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + bytes(chunks)


def _webp_size(webp: bytes) -> tuple[int, int, int]:
    """Returns width, height and the flag of alpha of a WebP of one chunk."""
    if webp[12:16] == b"VP8L":
        bits = int.from_bytes(webp[21:25], "little")
        alpha = _ALPHA_FLAG if bits >> 28 & 1 else 0
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, alpha
    width, height = struct.unpack_from("<HH", webp, 26)
    return width & 0x3FFF, height & 0x3FFF, 0
