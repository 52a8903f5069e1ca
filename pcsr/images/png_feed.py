"""The feed of libvips: rows of pixels as an uncompressed PNG, which it reads from a pipe."""

import struct
import zlib
from typing import BinaryIO

import numpy as np

_RGB, _GREY = 2, 0  # colour types


class PngFeed:
    """Writes the rows of a picture of `size` (height, width) to `file`. `like` is an array of its
    dtype (uint8 or uint16) and channels, [h,w] or [h,w,3].
    """

    def __init__(self, file: BinaryIO, size: tuple[int, int], like: np.ndarray) -> None:
        self._file = file
        self._stored = zlib.compressobj(0)
        self._dtype = like.dtype.newbyteorder(">")
        file.write(b"\x89PNG\r\n\x1a\n")
        colour = _RGB if like.ndim == 3 else _GREY
        header = struct.pack(">IIBBBBB", size[1], size[0], 8 * like.itemsize, colour, 0, 0, 0)
        self._chunk(b"IHDR", header)

    def write(self, rows: np.ndarray) -> None:
        """Writes the next rows, [n,w] or [n,w,3]."""
        flat = np.ascontiguousarray(rows, dtype=self._dtype).view(np.uint8).reshape(len(rows), -1)
        lines = np.pad(flat, ((0, 0), (1, 0)))  # each line begins with its filter, none
        self._chunk(b"IDAT", self._stored.compress(lines.data))

    def close(self) -> None:
        """Ends the picture, once all of its rows are written; leaves the file open."""
        self._chunk(b"IDAT", self._stored.flush())
        self._chunk(b"IEND", b"")

    def _chunk(self, kind: bytes, data: bytes) -> None:
        check = zlib.crc32(data, zlib.crc32(kind))
        self._file.write(struct.pack(">I", len(data)) + kind)
        self._file.write(data)
        self._file.write(struct.pack(">I", check))
