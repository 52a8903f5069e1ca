"""Arrays of bundles in libpcsr: those that pcsr-export writes, and no others."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.bundles import _repair_hashes as repair_hashes

from .verdicts import MLPS, in_c, in_python


def _archive(copied_bundle: Path, data: bytes) -> None:
    (copied_bundle / MLPS).write_bytes(data)
    repair_hashes(copied_bundle)


def _central(data: bytearray) -> int:
    return data.index(b"PK\1\2")


def test_compressed_arrays_are_refused_with_what_to_do(
    copied_bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    with np.load(copied_bundle / MLPS) as arrays:
        values = dict(arrays)
    np.savez_compressed(copied_bundle / MLPS, **values)
    repair_hashes(copied_bundle)
    [found] = in_c(libpcsr_program("read_bundle"), [copied_bundle])
    assert "is compressed, or packed in another way; this library reads uncompressed" in found


ZIPS: dict[str, tuple[Callable[[bytearray], bytes], str]] = {
    "value": (lambda data: _flipped(data, 200), "has another checksum"),
    "size in front": (lambda data: _flipped(data, data.index(b"\1\0\x10\0") + 4), "in two ways"),
    "size in the list": (lambda data: _flipped(data, _central(data) + 24), "in another way"),
    "place": (lambda data: _flipped(data, _central(data) + 42), "do not follow one another"),
    "name": (lambda data: _flipped(data, _central(data) + 46), "described in two ways"),
    "encrypted": (lambda data: _flipped(data, _central(data) + 8), "packed in another way"),
    "comment": (lambda data: bytes(data[:-2]) + b"\1\0x", "does not end as one"),
    "in front": (lambda data: b"x" + bytes(data), "directory is damaged"),
    "cut": (lambda data: bytes(data[:-1]), "does not end as one"),
    "nothing": (lambda _: b"", "is too short"),
    "count": (lambda data: _count(data, 1), "more than its entries"),
    "counts": (lambda data: _count(data, 4096), "in the middle of an entry"),
}


def _flipped(data: bytearray, at: int) -> bytes:
    data[at] ^= 1
    return bytes(data)


def _count(data: bytearray, count: int) -> bytes:
    data[-14:-10] = struct.pack("<HH", count, count)
    return bytes(data)


@pytest.mark.parametrize("name", ZIPS)
def test_a_damaged_zip_file_is_refused(
    name: str, copied_bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    change, words = ZIPS[name]
    _archive(copied_bundle, change(bytearray((copied_bundle / MLPS).read_bytes())))
    [found] = in_c(libpcsr_program("read_bundle"), [copied_bundle])
    assert f"{MLPS}: the weights of the upsamplers cannot be read (" in found
    assert words in found


HEADERS = {
    "version 2": (b"{'descr':'<f4','fortran_order':False,'shape':%s}", 2, True),
    "other order": (b'{"shape": %s, "descr": "<f4" ,"fortran_order": False , }  \n', 1, True),
    "zero behind": (b"{'descr':'<f4','fortran_order':False,'shape':%s}\0\n", 1, False),
    "key twice": (b"{'descr':'<f4','descr':'<f4','fortran_order':False,'shape':%s}", 1, False),
    "key missing": (b"{'descr':'<f4','shape':%s}", 1, False),
    "other kind": (b"{'descr':'>f4','fortran_order':False,'shape':%s}", 1, False),
    "Fortran's order": (b"{'descr':'<f4','fortran_order':True,'shape':%s}", 1, False),
    "large shape": (b"{'descr':'<f4','fortran_order':False,'shape':(%d,4)}" % 2**62, 1, False),
    "negative": (b"{'descr':'<f4','fortran_order':False,'shape':(-1,-8)}", 1, False),
    "no shape": (b"{'descr':'<f4','fortran_order':False,'shape':8}", 1, False),
    "version 3": (b"{'descr':'<f4','fortran_order':False,'shape':%s}", 3, False),
    "long": (b"{'descr':'<f4','fortran_order':False,'shape':%s}" + b" " * 10_001, 1, False),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_arrays_are_taken_asin_python(
    name: str, copied_bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    header, version, is_right = HEADERS[name]
    with (
        np.load(copied_bundle / MLPS) as arrays,
        zipfile.ZipFile(copied_bundle / "new", "w") as archive,
    ):
        for key, array in arrays.items():
            text = header.replace(b"%s", str(array.shape).encode())
            length = struct.pack("<H" if version == 1 else "<I", len(text))
            start = b"\x93NUMPY" + bytes((version, 0)) + length + text
            archive.writestr(f"{key}.npy", start + array.tobytes())
    _archive(copied_bundle, (copied_bundle / "new").read_bytes())
    [found] = in_c(libpcsr_program("read_bundle"), [copied_bundle])
    assert found.startswith("ok ") == is_right
    assert (in_python(copied_bundle) == "ok") == (is_right or name == "key twice")


def test_the_fault_in_the_middle_of_many_is_told(
    copied_bundle: Path, valid_bundles: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    with np.load(copied_bundle / MLPS) as arrays:
        values = dict(arrays)
    values["upsampler_1.bias"][2] = np.nan
    np.savez(copied_bundle / MLPS, **values)
    repair_hashes(copied_bundle)
    plain = valid_bundles / "bundles" / "plain"
    found = in_c(
        libpcsr_program("read_bundle"), [plain, copied_bundle, copied_bundle / "none", plain]
    )
    assert [line.split()[0] for line in found] == ["ok", "refused:", "refused:", "ok"]
    assert "upsampler_1.bias holds NaN or infinite values" in found[1]
    assert found[2] == in_python(copied_bundle / "none")
