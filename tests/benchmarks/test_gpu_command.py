"""`make gpu` as a user runs it, here on the CPU."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.environment import ROOT
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
