"""What an .npz file will take is known before it is unpacked."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr.reading.npz import Headers, read_npz

MOST = 1000
ARRAYS: dict[str, NDArray[Any]] = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array(2.5),
    "c": np.array(True),
}


def packed(arrays: dict[str, NDArray[Any]], compressed: bool = False) -> bytes:
    file = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def zipped(*entries: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return file.getvalue()


def npy(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def encrypted() -> bytes:
    data = bytearray(packed(ARRAYS))
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


def claiming(header: bytes) -> bytes:
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "bomb": (
        lambda: packed({"a": np.zeros(10**7, np.uint8)}, True),
        "take 10000128 bytes, more than",
    ),
    "bomb-of-no-array": (lambda: zipped(("a.npy", bytes(10**7))), "take 10000000 bytes, more than"),
    "objects": (
        lambda: packed({"a": np.array([None], object)}),
        "not an array of little-endian numbers",
    ),
    "big-endian": (
        lambda: packed({"a": np.zeros(3, ">f4")}),
        "not an array of little-endian numbers",
    ),
    "fortran": (lambda: packed({"a": np.asfortranarray(np.zeros((2, 3)))}), "not an array"),
    "text": (lambda: packed({"a": np.array(["four"])}), "not an array"),
    "no-array": (lambda: zipped(("a.npy", b"no array")), "'a.npy' is no array"),
    "twice": (lambda: zipped(("a.npy", npy(ARRAYS["a"])), ("a", b"")), "there twice"),
    "encrypted": (encrypted, "encrypted"),
    "huge-shape": (
        lambda: zipped(
            (
                "a.npy",
                claiming(
                    b"{'descr': '<f4', 'fortran_order': False, 'shape': (9" + b"9" * 40 + b",)}"
                ),
            )
        ),
        "another size than its header says",
    ),
    "negative-shape": (
        lambda: zipped(
            ("a.npy", claiming(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"))
        ),
        "impossible shape",
    ),
    "brackets": (lambda: zipped(("a.npy", claiming(b"(" * 9000))), "is no array"),
    "cut-values": (lambda: zipped(("a.npy", npy(ARRAYS["a"])[:-1])), "another size"),
    "cut": (lambda: packed(ARRAYS)[:-30], "no .npz file"),
    "many": (lambda: zipped(*((f"a{n}.npy", b"") for n in range(4097))), "more than 4096 arrays"),
    "nothing": (lambda: b"", "no .npz file"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    data, reason = REFUSED[case]
    with pytest.raises(ValueError, match=reason):
        read_npz(data(), MOST)


@pytest.mark.parametrize("compressed", [False, True])
def test_taken(compressed: bool) -> None:
    found = read_npz(packed(ARRAYS, compressed), MOST)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def test_headers_are_checked_before_values_are_read() -> None:
    values = np.arange(10**4, dtype=np.float32)
    data = bytearray(packed({"a": values}))
    data[data.index(values[-9:].tobytes())] ^= 1  # what the checksum of the zip would find

    def check(headers: Headers) -> None:
        assert headers["a"].shape == values.shape
        raise ValueError("of another network")

    with pytest.raises(ValueError, match="of another network"):
        read_npz(bytes(data), 10**6, check)
