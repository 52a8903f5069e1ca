"""Arrays in .npz files. What they will take is known before anything is decompressed."""

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

MOST_ARRAYS = 4096
MOST_DIMENSIONS = 8
HEADER_BYTES = 10_000
NUMBERS = {np.dtype(name).str for name in ("?", "u1", "u2", "<i4", "<i8", "<f4", "<f8")}
ENCRYPTED = 1
ENTRY = b"PK\1\2"
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Header:
    """What the file says of one array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """How many bytes its values take."""
        return math.prod(self.shape) * self.dtype.itemsize


Headers = Mapping[str, Header]


def read_npz(
    data: bytes, most_bytes: int, check: Callable[[Headers], None] | None = None
) -> Arrays:
    """Reads all arrays of an .npz file: little-endian numbers in C order.

    Args:
        most_bytes: what all values may take together.
        check: takes the headers by name, and raises ValueError where they are not as expected,
            before anything is decompressed.

    Raises:
        ValueError: it is damaged, too large, or holds something else.
    """
    if data.count(ENTRY) > MOST_ARRAYS:  # each becomes an object before zipfile returns
        raise ValueError(f"it has more than {MOST_ARRAYS} arrays")
    try:
        with ZipFile(io.BytesIO(data)) as file:
            entries = _entries(file, most_bytes)
            headers = {name: _header(file, entry) for name, entry in entries.items()}
            if check is not None:
                check(headers)
            return {name: _array(file, entries[name], headers[name]) for name in entries}
    except ValueError:
        raise
    except Exception as error:  # zipfile and zlib raise some ten kinds for damaged files
        raise ValueError(f"no .npz file: {error or type(error).__name__}") from error


def _entries(file: ZipFile, most_bytes: int) -> dict[str, ZipInfo]:
    """Gives the entries by the names of their arrays."""
    listed = file.infolist()
    names = [entry.filename.removesuffix(".npy") for entry in listed]
    if len({*names}) < len(names):
        raise ValueError("an array is there twice")
    for entry in listed:
        if entry.flag_bits & ENCRYPTED or entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise ValueError(f"{entry.filename!a:.80} is encrypted or packed in another way")
    total = sum(entry.file_size for entry in listed)
    if total > most_bytes + len(listed) * HEADER_BYTES:
        raise ValueError(f"its arrays take {total} bytes, more than {most_bytes}")
    return dict(zip(names, listed, strict=True))


def _header(file: ZipFile, entry: ZipInfo) -> Header:
    name = f"{entry.filename!a:.80}"
    try:
        with file.open(entry) as stream:
            shape, fortran_order, dtype = HEADERS[npy.read_magic(stream)](stream, HEADER_BYTES)
            begin = stream.tell()
    except Exception as error:  # NumPy evaluates a Python literal: some ten kinds
        raise ValueError(f"{name} is no array ({error or type(error).__name__})") from error
    found = Header(dtype, shape)
    if dtype.str not in NUMBERS or (fortran_order and len(shape) > 1):
        raise ValueError(f"{name} is not an array of little-endian numbers in C order")
    if len(shape) > MOST_DIMENSIONS or min(shape, default=0) < 0:
        raise ValueError(f"{name} has an impossible shape")
    if begin + found.size_bytes != entry.file_size:
        raise ValueError(f"{name} has another size than its header says")
    return found


def _array(file: ZipFile, entry: ZipInfo, header: Header) -> NDArray[Any]:
    values = file.read(entry)[entry.file_size - header.size_bytes :]
    return np.frombuffer(values, header.dtype).reshape(header.shape)
