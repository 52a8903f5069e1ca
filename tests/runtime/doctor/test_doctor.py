"""pcsr-doctor: whatever is missing or broken, it says so and ends well."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pcsr.amend import commit, new_folder, with_calibration
from pcsr.runtime import machine
from pcsr.runtime.doctor import probes as doctor_probes
from pcsr.runtime.doctor import report as doctor
from pcsr.runtime.doctor.cli import main
from pcsr.runtime.tensorrt.library import load_library
from pcsr.runtime.trials.memory import key_of, remember
from pcsr.runtime.trials.outcome import TrialOutcome
from tests import commands

BLOCKED = ("numpy", "onnx", "onnxruntime", "torch", "triton", "tensorrt", "tensorrt_rtx")
ROOT = Path(__file__).parents[3]


def in_process(*args: object) -> commands.Ended:
    result = CliRunner().invoke(main, [*map(str, args)], catch_exceptions=False)
    return commands.Ended(result.exit_code, result.stdout, result.stderr)


def in_a_process(setup: str, *args: str, **environment: str) -> commands.Ended:
    code = f"import sys\n{setup}\nfrom pcsr.runtime.doctor.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | environment,
    )
    return commands.Ended(done.returncode, done.stdout, done.stderr)


def checks(ended: commands.Ended) -> dict[tuple[str, str], dict[str, Any]]:
    assert (ended.code, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)["checks"]
    assert all("\n" not in check["detail"] for check in found)
    return {(check["backend"], check["device"]): check for check in found}


def test_what_is_here_works() -> None:
    found = checks(in_process("--json", "-"))
    for backend in ("native", "onnxruntime", "torch"):
        assert found[backend, "cpu"]["works"], found[backend, "cpu"]
    assert found["native, bf16", "cpu"]["works"] == (
        bool(machine.bf16_instructions()) and find_spec("openvino") is not None
    )
    assert {device for _, device in found} == {"cpu", "cuda"}
    assert [backend for backend, device in found if device == "cuda"] == [
        *("torch", "onnxruntime", "tensorrt", "fused kernels")
    ]


def test_without_a_gpu_nothing_works_on_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = checks(in_process("--json", "-"))
    for backend in ("torch", "fused kernels", "tensorrt"):
        assert not found[backend, "cuda"]["works"]
    assert "finds no NVIDIA GPU" in found["torch", "cuda"]["detail"]


def test_for_people() -> None:
    ended = in_process()
    assert ended.code == 0
    for words in ("pcsr              0.1.0", "compiled passes", "torch         cpu   works"):
        assert words in ended.stdout


def test_every_package_missing() -> None:
    block = f"sys.modules.update(dict.fromkeys({BLOCKED!r}))"
    found = checks(in_a_process(block, "--json", "-"))
    assert not any(check["works"] for check in found.values())
    assert found["native", "cpu"]["detail"] == "numpy is not installed; pip install numpy"
    assert "torch is not installed; install PyTorch" in found["tensorrt", "cuda"]["detail"]


@pytest.mark.parametrize(
    ("package", "row", "hint"),
    [
        ("onnxruntime", ("native", "cpu"), "pcsr[cpu]"),
        ("onnx", ("torch", "cpu"), "pip install onnx"),
        ("torch", ("torch", "cuda"), "pytorch.org"),
        ("triton", ("fused kernels", "cuda"), "pip install triton"),
    ],
)
def test_one_package_missing(
    package: str, row: tuple[str, str], hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    check = {(c.backend, c.device): c for c in doctor.examine().checks}[row]
    assert not check.works
    assert f"{package} is not installed; " in check.detail
    assert hint in check.detail


@pytest.mark.parametrize(
    "failure", ["raise OSError('no libcuda.so')", "raise SystemExit(3)", "raise BaseException('x')"]
)
def test_broken_packages(failure: str, tmp_path: Path) -> None:
    for package in ("onnxruntime", "openvino", "torch"):
        (tmp_path / f"{package}.py").write_text(failure)
    ended = in_a_process("", "--json", "-", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    found = checks(ended)
    assert not any(check["works"] for check in found.values())
    assert "onnxruntime does not load: " in found["native", "cpu"]["detail"]
    assert json.loads(ended.stdout)["providers"] == []


def test_a_wrong_result_is_no_working_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_probes, "EXPECTED", 12.0)
    found = checks(in_process("--json", "-"))
    assert not any(check["works"] for check in found.values())
    assert "computes 11 where 12 is right" in found["torch", "cpu"]["detail"]


def test_what_trials_have_found_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    key = key_of("backbone", "0123456789", "bf16", 2)
    remember(key, TrialOutcome("b", {"a": 2.0, "b": 1.5}, {"c": "not here"}))
    file = tmp_path / "pcsr" / "cpu-choices.json"
    found = json.loads(in_process("--json", "-").stdout)["remembered"]
    assert found == {
        "file": str(file),
        "01234567 bf16, 2 threads": "b (a 2.000, b 1.500, c: not here)",
    }
    assert f"  file              {file}" in in_process().stdout
    file.write_text("{")
    found = json.loads(in_process("--json", "-").stdout)["remembered"]
    assert "it is not JSON" in found["damaged"]


def test_bf16_needs_a_processor_and_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def detail() -> str:
        return str(checks(in_process("--json", "-"))["native, bf16", "cpu"]["detail"])

    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "openvino is not installed; run pip install 'pcsr[openvino]'" in detail()
    monkeypatch.setattr(machine, "cpu_flags", frozenset)
    assert "has no instructions for bf16" in detail()


def test_two_builds_of_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "version", lambda package: "1.0")
    detail = checks(in_process("--json", "-"))["onnxruntime", "cuda"]["detail"]
    assert "onnxruntime and onnxruntime-gpu are both installed" in detail


def test_gpus_by_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA X, 9.0, 143771 MiB, 580.1'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (gpu,) = doctor.examine().gpus
    assert gpu == {
        "name": "NVIDIA X",
        "compute_cap": "9.0",
        "memory.total": "143771 MiB",
        "driver_version": "580.1",
    }


def test_a_good_bundle(carn_like_bundle: Path) -> None:
    ended = in_process(carn_like_bundle, "--json", "-")
    bundle = json.loads(ended.stdout)["bundle"]
    assert (bundle["kind"], bundle["backbone"]) == ("pcsr", "carn")
    assert (bundle["precisions"], bundle["engines"]) == (["fp32"], [])
    assert bundle["calibrations"] == []
    assert "every hash is right" in in_process(carn_like_bundle).stdout


@pytest.mark.parametrize("file", ["fp32/classifier.onnx", "fp32/mlps.npz", "verification.npz"])
def test_a_damaged_bundle(file: str, carn_like_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(carn_like_bundle, bundle)
    with (bundle / file).open("ab") as stream:
        stream.write(b"x")
    commands.assert_refused(in_process(bundle), 2, f"{file} is damaged: sha256")


def test_a_damaged_calibration(carn_like_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(carn_like_bundle, tmp_path / "bundle"))
    with new_folder(bundle, "found") as folder:
        (folder.path / "a.json").write_text("{}")
        file = folder.file("a.json")
        commit(bundle, lambda manifest: with_calibration(manifest, "int8", file))
    found = json.loads(in_process(bundle, "--json", "-").stdout)["bundle"]
    assert found["calibrations"] == ["int8"]
    (bundle / "found" / "a.json").write_text("[]")
    commands.assert_refused(in_process(bundle), 2, "a.json is damaged: sha256")


def test_no_bundle(tmp_path: Path) -> None:
    commands.assert_refused(in_process(tmp_path), 2, "is not a bundle")


def test_tensorrt_builds_the_smallest_model() -> None:
    pytest.importorskip("tensorrt_rtx")
    plan = doctor_probes._plan(load_library())
    assert plan.nbytes > 100


def test_the_smallest_kernel_computes() -> None:
    pytest.importorskip("triton")
    code = "import torch; from pcsr.runtime.doctor.kernel import weighted_sum as f; "
    code += "print(f(torch.tensor([3., 4.])))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
    )
    assert done.stdout.strip() == "11.0"
