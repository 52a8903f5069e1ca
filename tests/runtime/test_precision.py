"""Half-precision sets in the runtime, and which backend `auto` takes."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pcsr import BackendError, Bundle, BundleError, Upscaler
from pcsr.runtime.backends import choose_backend
from pcsr.runtime.cpu.candidates import choice
from tests import checkpoints
from tests.commands import assert_refused, upscale
from tests.exports import ALL_PRECISIONS, Exports


@pytest.fixture(scope="module", params=["pcsr", "plain"])
def typed_bundle(request: pytest.FixtureRequest, exports: Exports) -> Path:
    """Tiny random FSRCNN, M = 2 or plain, in all precisions."""
    if request.param == "plain":
        return exports.of(checkpoints.plain_checkpoint("fsrcnn"), ALL_PRECISIONS)
    return exports.of(checkpoints.tiny("fsrcnn"), ALL_PRECISIONS)


@pytest.fixture
def no_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no compiler was when pcsr was installed."""
    monkeypatch.setitem(sys.modules, "pcsr.runtime.cpu._pixels", None)
    monkeypatch.delitem(sys.modules, "pcsr.runtime.cpu.passes", raising=False)
    monkeypatch.delitem(sys.modules, "pcsr.runtime.cpu.native_pipeline", raising=False)


def test_fp16_through_onnx_runtime_is_near_to_fp32(typed_bundle: Path) -> None:
    image = np.random.default_rng(0).random((19, 23, 3), dtype=np.float32)
    half = Upscaler(typed_bundle, precision="fp16", tile_px=16)
    exact = Upscaler(typed_bundle, backend="onnxruntime")
    assert half.backend == "onnxruntime"
    found, expected = half(image), exact(image)
    gap = np.abs(found.image - expected.image)
    if found.assignment is not None and expected.assignment is not None:
        same = found.assignment == expected.assignment
        assert same.mean() > 0.98
        gap = gap[same]
    assert 1e-6 < gap.mean() < 2e-3
    assert found.image.dtype == np.float32


def test_native_does_not_compute_in_fp16(typed_bundle: Path, tmp_path: Path) -> None:
    pattern = "native backend computes in fp32, bf16 and int8, not in fp16; use onnxruntime"
    with pytest.raises(BackendError, match=pattern):
        Upscaler(typed_bundle, backend="native", precision="fp16")
    options = ("--backend", "native", "--precision", "fp16")
    ended = upscale(typed_bundle, tmp_path / "in.png", tmp_path / "out.png", *options)
    assert_refused(ended, 3, pattern)


def test_onnx_runtime_has_no_bf16_on_the_cpu(typed_bundle: Path) -> None:
    with pytest.raises(BackendError, match="no bf16 on the CPU; use the native backend"):
        Upscaler(typed_bundle, backend="onnxruntime", precision="bf16")


def test_native_computes_in_bf16_where_the_processor_does(
    typed_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(choice, "bf16_instructions", list)
    ended = upscale(typed_bundle, tmp_path / "in.png", tmp_path / "out.png", "--precision", "bf16")
    assert_refused(ended, 3, "has no instructions for bf16 .avx512_bf16 or AMX.; pass --precision")


@pytest.mark.parametrize(
    ("precision", "found"),
    [
        ("fp16", r"no fp16 graphs \(it has: fp32\)"),
        ("", r"no  graphs \(it has: fp32\)"),
        ("int8", "no int8 graphs for the CPU; make them with pcsr-calibrate precision"),
    ],
)
def test_a_precision_that_is_not_there(carn_like_bundle: Path, precision: str, found: str) -> None:
    with pytest.raises(BundleError, match=found):
        Upscaler(carn_like_bundle, precision=precision)


def test_auto_takes_the_passes_where_they_are_built(carn_like_bundle: Path) -> None:
    assert Upscaler(carn_like_bundle).backend == "native"


@pytest.mark.usefixtures("no_passes")
def test_auto_needs_no_compiled_passes(carn_like_bundle: Path) -> None:
    image = np.random.default_rng(0).random((9, 8, 3), dtype=np.float32)
    upscaler = Upscaler(carn_like_bundle)
    assert upscaler.backend == "onnxruntime"
    assert upscaler(image, 2).image.shape == (18, 16, 3)
    with pytest.raises(BackendError, match="compiled passes, which are not there"):
        Upscaler(carn_like_bundle, backend="native")


@pytest.mark.parametrize(
    ("instructions", "machine", "backend"),
    [
        ("generic", "x86_64", "onnxruntime"),
        ("avx2", "x86_64", "native"),
        ("generic", "riscv64", "native"),  # nobody has measured it
    ],
)
def test_auto_runs_liif_in_onnx_runtime_without_avx2(
    instructions: str,
    machine: str,
    backend: str,
    liif_bundle: Path,
    carn_like_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("pcsr.runtime.cpu.passes.instructions", lambda: instructions)
    monkeypatch.setattr("platform.machine", lambda: machine)
    with caplog.at_level(logging.INFO, "pcsr.runtime.backends"):
        assert choose_backend("auto", "cpu", "fp32", Bundle.load(carn_like_bundle)) == "native"
        assert caplog.messages == []
        assert choose_backend("auto", "cpu", "fp32", Bundle.load(liif_bundle)) == backend
    assert ("without AVX2" in caplog.text) == (backend == "onnxruntime")


EXPORT = """
import sys
sys.modules.update(dict.fromkeys({absent!r}))  # importing them fails
from pcsr.export.cli import main
main()
"""
ABSENT = ["pyvips", "cffi", "_cffi_backend", "pcsr.runtime.cpu._pixels", "PIL", "skimage", "av"]


def test_export_needs_neither_image_files_nor_a_compiler(pcsr_ckpt: Path, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    code = EXPORT.format(absent=ABSENT)
    options = ["--ckpt", str(pcsr_ckpt), "-o", str(tmp_path / "bundle"), "--precision", "fp16"]
    done = subprocess.run(
        [sys.executable, "-c", code, *options],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "comparisons passed" in done.stdout
