"""`make gpu` as a user runs it, here on the CPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.device.sections import parse_section
from benchmarks.environment import ROOT
from benchmarks.gpu import main
from benchmarks.networks import bundle_name
from tests import checkpoints

KINDS = ["run", "networks", "ceilings", "fidelity", "time", "kernels"]


def command(*args: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "benchmarks.gpu", *args]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = command("--out", str(tmp_path))
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1
    assert "error: device 'cuda'" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--pack", "no-such-folder"), "no-such-folder is no pack"),
        (("--section", "time carn"), "no section is named 'time carn'"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, arguments: tuple[str, str], says: str) -> None:
    done = command("--device", "cpu", "--out", str(tmp_path), *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Plays the Python of a GPU machine: it prints its path and its arguments, and fails."""
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\necho "$PYTHONPATH" "$@"\nexit 1\n')
    script.chmod(0o755)
    return script


def made(target: str, pack: Path, python: Path) -> list[list[str]]:
    """The paths and arguments that a target of the Makefile gives to that Python."""
    words = ["make", "-s", target, f"PACK={pack}", f"GPU_PYTHON={python}", "OUT=out"]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=ROOT, check=False, env={"PATH": os.defpath}
    )
    assert done.returncode == 2
    return [line.split(" ") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("target", ["gpu-first", "gpu-second"])
def test_the_makefile_names_options_and_sections_that_exist(
    target: str, tmp_path: Path, python: Path
) -> None:
    calls = made(target, tmp_path / "no-pack", python)
    assert [call[:3] for call in calls] == [["", "-m", "benchmarks.gpu"]]
    options = main.make_context("gpu", calls[0][3:]).params
    assert (options["pack"], options["out"], options["device"]) == (None, Path("out"), "cuda")
    sections = [parse_section(name) for name in options["named"]]
    assert bool(sections) == (target == "gpu-second")
    assert options["budget_s"] == (350 if sections else 290)


def test_the_makefile_takes_what_a_pack_brings(tmp_path: Path, python: Path) -> None:
    for name in ("wheels/a.whl", "wheels/b.whl", "pack.json", "libraries/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    wheels = f"{tmp_path}/wheels/a.whl:{tmp_path}/wheels/b.whl"
    (first,) = made("gpu-first", tmp_path, python)
    assert first[:5] == [wheels, "-m", "benchmarks.gpu", "--pack", str(tmp_path)]
    second, rtx = made("gpu-second", tmp_path, python)
    assert second[0] == wheels
    assert rtx[0] == f"{wheels}:{tmp_path}/libraries"
    options = [main.make_context("gpu", call[3:]).params for call in (second, rtx)]
    assert sum(each["budget_s"] for each in options) == 350
    assert options[0]["out"] != options[1]["out"]


@pytest.mark.slow
def test_the_whole_run_on_the_cpu(carn_like_bundle: Path, tmp_path: Path) -> None:
    """With one bundle in the cache and one that the run exports itself."""
    pcsr = tmp_path / "carn-pcsr.pth"
    shutil.copy(carn_like_bundle.with_name("network.pth"), pcsr)
    shutil.copytree(carn_like_bundle, tmp_path / "cache" / bundle_name(pcsr))
    checkpoints.save(checkpoints.plain_checkpoint("carn"), tmp_path / "carn-x4.pth")
    folders = ("--checkpoints", tmp_path, "--cache", tmp_path / "cache", "--out", tmp_path / "out")
    choice = ("--device", "cpu", "--quick", "--model", "carn", "--precision", "fp32")
    done = command(*choice, *map(str, folders))
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "gpu-cpu-quick.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert list(dict.fromkeys(record["kind"] for record in records)) == KINDS
    assert all(record.get("error") is None for record in records)
    fidelity = [record for record in records if record["kind"] == "fidelity"]
    assert all(record["passed"] for record in fidelity)
    assert "pcsr, torch, fused, graph" in {record["path"] for record in fidelity}
    report = (tmp_path / "out" / "gpu-cpu-quick.md").read_text()
    assert report.startswith(done.stdout.rstrip())
    assert "## carn 17x12 -> 68x48, fp32" in report


@pytest.mark.parametrize("budget", ["-1", "0", "nan", "inf"])
def test_a_budget_that_is_none_is_refused(budget: str, tmp_path: Path) -> None:
    done = command("--budget-s", budget, "--out", str(tmp_path))
    assert done.returncode == 2
    assert "--budget-s" in done.stderr
