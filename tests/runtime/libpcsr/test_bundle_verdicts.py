"""Bundles in libpcsr: it takes what the runtime in Python takes, and refuses what that refuses."""

import json
import os
import random
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pcsr.bundle import Bundle
from pcsr.errors import BundleError
from pcsr.runtime.mlps import MlpWeights, load_mlps
from tests.fuzz import bundles, originals

from . import building

CASES = 200
STRICTER = ("is compressed, or packed in another way", "no .npz file: ")
"""Of zip files, this library reads those that pcsr-export writes."""
SANITIZERS = ("address", "undefined")
MAKE = {"manifest": bundles.manifest, "npz": bundles.npz, "onnx": bundles.onnx_graph}
MLPS = "fp32/mlps.npz"


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return originals.write(tmp_path_factory.mktemp("verdicts") / "originals")


@pytest.fixture
def bundle(valid: Path, tmp_path: Path) -> Path:
    """A valid bundle that a test may change."""
    return Path(shutil.copytree(valid / "bundles" / "fsrcnn", tmp_path / "bundle"))


def _in_python(path: Path) -> str:
    try:
        opened = Bundle.load(path)
        opened.graph_bytes(opened.image_role)
        if opened.kind == "pcsr":
            load_mlps(opened)
    except BundleError as error:
        return f"refused: {error}"
    return "ok"


def _in_c(program: Path, paths: Sequence[Path], **environment: str) -> list[str]:
    done = subprocess.run(
        [program, *paths],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode in (0, 2), done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths)
    assert done.returncode == (2 if any(line.startswith("refused: ") for line in lines) else 0)
    return lines


def _described(path: Path) -> str:
    opened = Bundle.load(path)
    text = f"ok {opened.kind}"
    if opened.kind == "pcsr":
        text += "".join(f" mlp={_mlp_text(mlp)}" for mlp in load_mlps(opened).values())
    return text


def _mlp_text(mlp: MlpWeights) -> str:
    parts = (mlp.feature_weight, mlp.row_weight, mlp.column_weight, mlp.cell_weight, mlp.bias)
    values = np.concatenate([part.ravel() for part in (*parts, mlp.rest)])
    total = np.cumsum(values, dtype=np.float64)[-1]  # one after another, as in C
    return "".join(f"{width}," for width in mlp.widths) + f"{total:.17g}"


def test_valid_bundles_are_read(valid: Path, libpcsr_program: Callable[[str], Path]) -> None:
    paths = sorted((valid / "bundles").iterdir())
    for path, line in zip(paths, _in_c(libpcsr_program("read_bundle"), paths), strict=True):
        words = [word for word in line.split() if word.split("=")[0] not in ("nodes", "width")]
        assert " ".join(word for word in words if not word.startswith("radius")) == _described(path)


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("form", MAKE)
def test_mutated_bundles_have_the_verdict_of_python(
    form: str, sanitizer: str, valid: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / str(number) / "bundle" for number in range(CASES)]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        MAKE[form](valid, path.parent, random.Random(f"libpcsr {form} {number}"))
    program = building.program("read_bundle", sanitizer)
    found = _in_c(program, paths, **building.SANITIZERS[sanitizer])
    expected = [_in_python(path) for path in paths]
    differ = [
        f"{path}: {line} instead of {other}"
        for path, line, other in zip(paths, found, expected, strict=True)
        if line.split()[0].rstrip(":") != other.split()[0].rstrip(":")
        and not (line.startswith("refused: ") and any(words in line for words in STRICTER))
    ]
    assert not differ
    refused = sum(line.startswith("refused: ") for line in found)
    assert CASES / 10 < refused < CASES


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


FILES: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "pipe": _pipe,
    "circle": _link_to_itself,
    "device": _endless,
    "large": lambda path: os.truncate(path, 257 * 2**20),
    "empty": lambda path: path.write_bytes(b"") and None,
}


@pytest.mark.parametrize("file", ["manifest.json", MLPS, "fp32/backbone.onnx"])
@pytest.mark.parametrize("change", FILES)
def test_files_are_ordinary_ones(
    change: str, file: str, bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    FILES[change](bundle / file)
    [found] = _in_c(libpcsr_program("read_bundle"), [bundle])
    expected = _in_python(bundle)
    assert expected.startswith("refused: ")
    assert found == expected or (change, file) == ("empty", "manifest.json")
    assert found.startswith("refused: ")


@pytest.mark.parametrize("file", ["manifest.json", MLPS, "fp32/backbone.onnx"])
def test_files_lie_inside(file: str, bundle: Path, libpcsr_program: Callable[[str], Path]) -> None:
    outside = (bundle / file).rename(bundle.parent / "outside")
    (bundle / file).symlink_to(outside)
    [found] = _in_c(libpcsr_program("read_bundle"), [bundle])
    assert found == _in_python(bundle)
    assert "it lies outside the bundle" in found
    outside.rename(bundle / "inside")
    (bundle / file).unlink()
    (bundle / file).symlink_to(bundle / "inside")
    [found] = _in_c(libpcsr_program("read_bundle"), [bundle])
    assert found.startswith("ok ")


MANIFESTS = {
    "mark": (lambda text: "\ufeff" + text, "it is not JSON"),
    "zero": (lambda text: text + "\0{}", "it is not JSON"),
    "rest": (lambda text: text + "{}", "it is not JSON"),
    "twice": (lambda text: text.replace("{", '{"format": 1, ', 1), "it holds a key twice"),
    "nan": (lambda text: text.replace("{", '{"x": NaN, ', 1), ""),
    "infinite": (lambda text: text.replace("{", '{"x": 1e999, ', 1), "it holds the number 1e999"),
    "digits": (
        lambda text: text.replace("{", '{"x": 9223372036854775808, ', 1),
        "it holds a number of 19 digits",
    ),
    "control": (lambda text: text.replace("{", r'{"x": "\u0085", ', 1), "it holds control char"),
    "separator": (lambda text: text.replace("{", r'{"\u2028": 1, ', 1), "it holds control char"),
    "levels": (
        lambda text: text.replace("{", '{"x": ' + "[" * 31 + "]" * 31 + ", ", 1),
        "it has more than 32 levels",
    ),
    "newer": (lambda text: _with(text, format_version=6), "format version 6, this pcsr reads 5"),
    "other": (lambda text: _with(text, format="x"), "is not the manifest of a pcsr bundle"),
    "kind": (lambda text: _with(text, kind="x"), 'kind: expected one of ["pcsr", "plain"]'),
    "point": (lambda text: _with(text, opset=18.0), 'opset: expected "integer", found 18.0'),
    "scale": (lambda text: _with(text, trained_scale=65), "expected at most 64, found 65"),
}


def _with(text: str, **changes: object) -> str:
    return json.dumps(json.loads(text) | changes)


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_wrong_manifest_has_the_sentence_of_python(
    name: str, bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    change, words = MANIFESTS[name]
    file = bundle / "manifest.json"
    file.write_bytes(change(file.read_text()).encode())
    expected = _in_python(bundle)
    [found] = _in_c(libpcsr_program("read_bundle"), [bundle])
    assert words in found
    assert words in expected
    assert found.startswith("refused: ")
    if words not in ("", "it is not JSON"):
        assert found == expected


def test_what_a_schema_leaves_alone_is_taken(
    bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    file = bundle / "manifest.json"
    deepest = json.loads("[" * 28 + "-0" + "]" * 28)
    file.write_text(_with(file.read_text(), format_version=5.0, later={"é": deepest}))
    assert _in_python(bundle) == "ok"
    [found] = _in_c(libpcsr_program("read_bundle"), [bundle])
    assert found.startswith("ok ")


def _archive(bundle: Path, data: bytes) -> None:
    (bundle / MLPS).write_bytes(data)
    bundles._repair_hashes(bundle)


def _central(data: bytes) -> int:
    return data.index(b"PK\1\2")


def test_compressed_arrays_are_refused_with_what_to_do(
    bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    with np.load(bundle / MLPS) as arrays:
        values = dict(arrays)
    np.savez_compressed(bundle / MLPS, **values)
    bundles._repair_hashes(bundle)
    [found] = _in_c(libpcsr_program("read_bundle"), [bundle])
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
    "nothing": (lambda data: b"", "is too short"),
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
    name: str, bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    change, words = ZIPS[name]
    _archive(bundle, change(bytearray((bundle / MLPS).read_bytes())))
    [found] = _in_c(libpcsr_program("read_bundle"), [bundle])
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
def test_headers_of_arrays_are_taken_as_in_python(
    name: str, bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    header, version, is_right = HEADERS[name]
    with np.load(bundle / MLPS) as arrays, zipfile.ZipFile(bundle / "new", "w") as archive:
        for key, array in arrays.items():
            text = header.replace(b"%s", str(array.shape).encode())
            length = struct.pack("<H" if version == 1 else "<I", len(text))
            start = b"\x93NUMPY" + bytes((version, 0)) + length + text
            archive.writestr(f"{key}.npy", start + array.tobytes())
    _archive(bundle, (bundle / "new").read_bytes())
    [found] = _in_c(libpcsr_program("read_bundle"), [bundle])
    assert found.startswith("ok ") == is_right
    assert (_in_python(bundle) == "ok") == (is_right or name == "key twice")


def test_the_fault_in_the_middle_of_many_is_told(
    bundle: Path, valid: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    with np.load(bundle / MLPS) as arrays:
        values = dict(arrays)
    values["upsampler_1.bias"][2] = np.nan
    np.savez(bundle / MLPS, **values)
    bundles._repair_hashes(bundle)
    plain = valid / "bundles" / "plain"
    found = _in_c(libpcsr_program("read_bundle"), [plain, bundle, bundle / "none", plain])
    assert [line.split()[0] for line in found] == ["ok", "refused:", "refused:", "ok"]
    assert "upsampler_1.bias holds NaN or infinite values" in found[1]
    assert found[2] == _in_python(bundle / "none")
