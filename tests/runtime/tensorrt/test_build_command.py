"""pcsr-build: options, output and exit codes."""

import json
import os
import sys
import types
from pathlib import Path

import pytest

from pcsr import Bundle
from pcsr.runtime.tensorrt.library import Library, load_library
from pcsr.runtime.tensorrt.plans import engines_folder, kept_folders, read_plans
from tests import checkpoints
from tests.commands import assert_clean, assert_refused, build, export

SMALL = ("--max-shape", "16x16")

FILES = ["fp32", "manifest.json", "verification.npz"]


@pytest.fixture
def full_tensorrt(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT by name; its functions are those of TensorRT-RTX."""
    module = types.ModuleType("tensorrt")
    module.__dict__.update({**library.trt.__dict__, "__name__": "tensorrt"})
    module.__dict__["__version__"] = "11.4.0.106"
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    load_library.cache_clear()


def test_it_says_what_it_does(plain: Bundle) -> None:
    ended = build(plain.path, *SMALL)
    assert ended.code == 0
    assert_clean(ended)
    (folder,) = kept_folders(plain)
    assert ended.stdout.startswith(f"{folder}: 1 engines, ")
    assert ended.stderr.startswith("1/1 network …\n1/1 network: ")
    again = build(plain.path, *SMALL)
    assert again.stdout == ended.stdout
    assert again.stderr == "fp32: the engines are there and valid\n"
    assert "1/1" in build(plain.path, *SMALL, "--force").stderr


def test_json(plain: Bundle) -> None:
    ended = build(plain.path, "--static", "9x8", "--json", "-", "--precision", "fp32,fp32")
    (built,) = json.loads(ended.stdout)
    assert built["facts"]["profile"]["min"] == built["facts"]["profile"]["max"] == [8, 9]
    assert read_plans(Path(built["folder"])).size_bytes == built["size_bytes"]
    on_disk = json.loads((Path(built["folder"]) / "build.json").read_text())
    assert on_disk.items() <= built.items()


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (["--max-shape", "16"], "WIDTHxHEIGHT"),
        (["--static", "0x9"], "WIDTHxHEIGHT"),
        (["--static", "8x8", "--opt-shape", "8x8"], "--static goes without"),
        (["--min-shape", "9x9", "--max-shape", "8x8"], "must not shrink"),
        (["--max-shape", "99999x99999"], "2\\^31-1 elements"),
        (["--opt-level", 6], "6 is not in the range"),
        (["--workspace", 0], "0 is not in the range"),
        (["--compute-capability", "9.9"], "8.9, 12.0, 12.1, not for 9.9"),
        (["--version-compatible"], "--version-compatible: not with TensorRT-RTX"),
        (["--hardware-compatible", "all"], "'all' is not one of"),
        (["--timing-cache", "x"], "--timing-cache: not with TensorRT-RTX"),
        (["--precision", "fp16"], "has no fp16 graphs \\(it has: fp32\\)"),
        (["--precision", "fp32,int8"], "has no int8 graphs"),
    ],
    ids=lambda value: "-".join(map(str, value)).strip("-") if isinstance(value, list) else "",
)
def test_options_that_are_refused(plain: Bundle, options: list[object], pattern: str) -> None:
    assert_refused(build(plain.path, *options), 2, pattern)
    assert not engines_folder(plain).exists()


def test_what_is_no_bundle(tmp_path: Path) -> None:
    assert_refused(build(tmp_path), 2, "is not a bundle")


def test_without_any_tensorrt(plain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    load_library.cache_clear()
    pattern = r"TensorRT is not installed; run pip install 'pcsr\[tensorrt\]'"
    assert_refused(build(plain.path), 3, pattern)


def test_without_filelock(plain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    pattern = r"needs filelock, which is not installed; run pip install 'pcsr\[tensorrt\]'"
    assert_refused(build(plain.path, *SMALL), 3, pattern)
    assert not engines_folder(plain).exists()


def test_with_one_that_does_not_load(
    plain: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.11: not\\nfound')")
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.syspath_prepend(tmp_path)
    load_library.cache_clear()
    pattern = "TensorRT is installed but does not load: libnvinfer.so.11: not found; install"
    assert_refused(build(plain.path), 3, pattern)


@pytest.mark.usefixtures("full_tensorrt")
def test_tensorrt_without_a_gpu(plain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    pattern = r"TensorRT 11\.4\.0\.106 builds engines on the GPU that will run them; .*0 NVIDIA"
    assert_refused(build(plain.path), 3, pattern)
    assert not engines_folder(plain).exists()


@pytest.mark.usefixtures("full_tensorrt")
@pytest.mark.parametrize(
    ("options", "code", "pattern"),
    [
        (["--compute-capability", "8.9"], 2, "--compute-capability is for TensorRT-RTX"),
        (["--device", "cpu"], 3, "cuda or cuda:N, not on 'cpu'"),
        (["--device", "cuda:x"], 3, "cuda or cuda:N, not on 'cuda:x'"),
    ],
)
def test_options_that_tensorrt_refuses(
    plain: Bundle, options: list[object], code: int, pattern: str
) -> None:
    assert_refused(build(plain.path, *options), code, pattern)


def test_engines_go_with_the_bundle_that_is_replaced(tmp_path: Path) -> None:
    data = checkpoints.plain_checkpoint("fsrcnn")
    command = ("--ckpt", checkpoints.save(data, tmp_path / "plain.pth"), "-o", tmp_path / "b")
    assert export(*command).code == 0
    ended = build(tmp_path / "b", *SMALL)
    assert ended.code == 0, ended.stderr
    (folder,) = kept_folders(Bundle.load(tmp_path / "b"))
    assert ended.stdout.startswith(f"{folder}: 1 engines, ")
    ended = export(*command, "--overwrite", "--json", "-")
    assert json.loads(ended.stdout)
    assert sorted(os.listdir(tmp_path / "b")) == FILES, "they went with it"
