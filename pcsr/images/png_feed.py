"""The feed of libvips: rows of pixels as an uncompressed PNG, which it reads from a pipe."""

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

_RGB, _GREY = 2, 0  # colour types


@contextmanager
def png_feed(
    file: BinaryIO, size: tuple[int, int], like: np.ndarray
) -> Iterator[Callable[[np.ndarray], None]]:
    """Lends a function that writes the next rows, [n,w] or [n,w,3], of a picture of `size` (height,
    width) to `file`. `like` is an array of their dtype (uint8 or uint16) and channels.
    """

    def write_chunk(kind: bytes, data: bytes) -> None:
        check = zlib.crc32(data, zlib.crc32(kind))
        file.write(struct.pack(">I", len(data)) + kind)
        file.write(data)
        file.write(struct.pack(">I", check))

    def write(rows: np.ndarray) -> None:
        flat = np.ascontiguousarray(rows, dtype=dtype).view(np.uint8).reshape(len(rows), -1)
        lines = np.pad(flat, ((0, 0), (1, 0)))  # each line begins with its filter, none
        write_chunk(b"IDAT", stored.compress(lines.data))

    stored, dtype = zlib.compressobj(0), like.dtype.newbyteorder(">")
    file.write(b"\x89PNG\r\n\x1a\n")
    colour = _RGB if like.ndim == 3 else _GREY
    header = struct.pack(">IIBBBBB", size[1], size[0], 8 * like.itemsize, colour, 0, 0, 0)
    write_chunk(b"IHDR", header)
    yield write
    write_chunk(b"IDAT", stored.flush())
    write_chunk(b"IEND", b"")
