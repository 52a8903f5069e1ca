"""Tests that run in a Python of their own, in which a host is installed (`make HOST`)."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "training" / "checkpoints" / "fsrcnn-pcsr-x4.pth"


def python_of(host: str, what: str) -> Path:
    """Gives the Python of the environment that `make HOST` makes. It has the host, pcsr and pytest,
    and no PyTorch.

    Where it is not there the test is skipped; with PCSR_HOST_REQUIRED=1 it fails.
    """
    python = ROOT / f".venv-{host}" / "bin" / "python"
    if not python.exists():
        reason = f"needs {what} ({python} is not there): run make {host}"
        if os.environ.get(f"PCSR_{host.upper()}_REQUIRED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return python


def names_of_tests(folder: Path) -> list[str]:
    """Names the files of tests in a folder, without suffix."""
    return sorted(path.stem for path in folder.glob("test_*.py"))


def run_tests(files: Sequence[Path], python: Path, bundles: Mapping[str, str]) -> None:
    """Runs files of one folder in another Python: all tests pass, and none is skipped. They find
    the bundles by name in PCSR_TEST_BUNDLES.
    """
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--confcutdir={files[0].parent}", "-rA", *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PCSR_TEST_BUNDLES": json.dumps(bundles)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout.splitlines()[-1], done.stdout
