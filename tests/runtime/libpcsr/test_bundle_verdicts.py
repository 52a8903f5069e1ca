"""Bundles in libpcsr: it takes what the runtime in Python takes, and refuses what that refuses."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pcsr.bundle import Bundle
from pcsr.runtime.mlps import MlpWeights, load_mlps
from tests.fuzz import bundles

from . import building
from .verdicts import MLPS, in_c, in_python

CASES = 200
STRICTER = ("is compressed, or packed in another way", "no .npz file: ")
"""Of zip files, this library reads those that pcsr-export writes."""
MAKE = {"manifest": bundles.manifest, "npz": bundles.npz, "onnx": bundles.onnx_graph}


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


def test_valid_bundles_are_read(
    valid_bundles: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    paths = sorted((valid_bundles / "bundles").iterdir())
    for path, line in zip(paths, in_c(libpcsr_program("read_bundle"), paths), strict=True):
        words = [word for word in line.split() if word.split("=")[0] not in ("nodes", "width")]
        assert " ".join(word for word in words if not word.startswith("radius")) == _described(path)


@pytest.mark.slow
@pytest.mark.parametrize("form", MAKE)
def test_mutated_bundles_have_the_verdict_of_python(
    form: str, valid_bundles: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / str(number) / "bundle" for number in range(CASES)]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        MAKE[form](valid_bundles, path.parent, random.Random(f"libpcsr {form} {number}"))
    program = building.program("read_bundle", building.MEMORY)
    found = in_c(program, paths, **building.SANITIZERS[building.MEMORY])
    expected = [in_python(path) for path in paths]
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
    "empty": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize("file", ["manifest.json", MLPS, "fp32/backbone.onnx"])
@pytest.mark.parametrize("change", FILES)
def test_files_are_ordinary_ones(
    change: str, file: str, copied_bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    FILES[change](copied_bundle / file)
    [found] = in_c(libpcsr_program("read_bundle"), [copied_bundle])
    expected = in_python(copied_bundle)
    assert expected.startswith("refused: ")
    assert found == expected or (change, file) == ("empty", "manifest.json")
    assert found.startswith("refused: ")


@pytest.mark.parametrize("file", ["manifest.json", MLPS, "fp32/backbone.onnx"])
def test_files_lie_inside(
    file: str, copied_bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    outside = (copied_bundle / file).rename(copied_bundle.parent / "outside")
    (copied_bundle / file).symlink_to(outside)
    [found] = in_c(libpcsr_program("read_bundle"), [copied_bundle])
    assert found == in_python(copied_bundle)
    assert "it lies outside the bundle" in found
    outside.rename(copied_bundle / "inside")
    (copied_bundle / file).unlink()
    (copied_bundle / file).symlink_to(copied_bundle / "inside")
    [found] = in_c(libpcsr_program("read_bundle"), [copied_bundle])
    assert found.startswith("ok ")


@pytest.mark.parametrize("end", ["/", "/.", "//"])
def test_a_name_may_end_as_that_of_a_folder(
    end: str, copied_bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    manifest = copied_bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"{MLPS}"', f'"{MLPS}{end}"'))
    [found] = in_c(libpcsr_program("read_bundle"), [copied_bundle])
    assert found.startswith("ok ")
    assert in_python(copied_bundle).startswith("ok")


MANIFESTS: dict[str, tuple[Callable[[str], str], str]] = {
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
    name: str, copied_bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    change, words = MANIFESTS[name]
    file = copied_bundle / "manifest.json"
    file.write_bytes(change(file.read_text()).encode())
    expected = in_python(copied_bundle)
    [found] = in_c(libpcsr_program("read_bundle"), [copied_bundle])
    assert words in found
    assert words in expected
    assert found.startswith("refused: ")
    if words not in ("", "it is not JSON"):
        assert found == expected


def test_what_a_schema_leaves_alone_is_taken(
    copied_bundle: Path, libpcsr_program: Callable[[str], Path]
) -> None:
    file = copied_bundle / "manifest.json"
    deepest = json.loads("[" * 28 + "-0" + "]" * 28)
    file.write_text(_with(file.read_text(), format_version=5.0, later={"é": deepest}))
    assert in_python(copied_bundle) == "ok"
    [found] = in_c(libpcsr_program("read_bundle"), [copied_bundle])
    assert found.startswith("ok ")
