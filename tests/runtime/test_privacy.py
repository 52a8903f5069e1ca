"""Nothing is sent and nothing is written below HOME: what the system calls of an upscaling show."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UPSCALE = """
import os, sys, numpy as np
from pcsr import Upscaler
print(Upscaler(sys.argv[1], threads=1)(np.zeros((9, 12, 3), np.uint8)).image.shape)
print(os.environ["ORT_DISABLE_TELEMETRY"])  # what child processes inherit
"""
CALLS = "trace=network,openat,mkdir,mkdirat"
INTERNET = re.compile(r"AF_INET6?\b")


def alone() -> list[str]:
    """The words in front of a command that take its network away, where the system lets us."""
    words = ["unshare", "-rn"]
    if shutil.which(words[0]) and subprocess.run([*words, "true"], capture_output=True).returncode:
        return []
    return words if shutil.which(words[0]) else []


def test_upscaling_sends_nothing_and_leaves_nothing(tmp_path: Path, carn_like_bundle: Path) -> None:
    tool = shutil.which("strace")
    if tool is None:
        pytest.fail("strace is not installed; run apt-get install strace, as .ci/run does")
    home, log = tmp_path / "home", tmp_path / "log"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    trace = [tool, "-f", "-qq", "-o", str(log), "-e", CALLS]
    done = subprocess.run(
        [*alone(), *trace, sys.executable, "-c", UPSCALE, str(carn_like_bundle)],
        env=kept | {"HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split("\n") == ["(36, 48, 3)", "1", ""], done.stderr
    lines = log.read_text(errors="replace").splitlines()
    assert any("onnxruntime" in line for line in lines)  # it saw the library being loaded
    assert [line for line in lines if INTERNET.search(line)] == []
    assert [line for line in lines if "DeveloperTools" in line] == []
    assert [*home.rglob("*")] == []
