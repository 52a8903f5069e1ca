"""Runs the tests of `tests/runtime/kernels` in processes of their own, see their conftest.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "kernels"
ROOT = FOLDER.parents[2]


def _run(interpret: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", str(FOLDER)]
    environment = os.environ | {"TRITON_INTERPRET": interpret}
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"


@pytest.mark.slow
def test_kernels_equal_their_references_in_the_interpreter() -> None:
    _run("1")


@pytest.mark.slow
def test_kernels_compile_for_nvidia_gpus() -> None:
    _run("0")
