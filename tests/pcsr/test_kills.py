"""Whenever a process is killed, an output is the old or the new one, and a rerun cleans up.

`PCSR_KILLS=300` sends so many signals at random, instead of a few.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("PCSR_KILLS", "24"))
OPERATIONS = ["file", "directory", "bundle"]
LEAST_STEPS = {"file": 8, "directory": 10, "bundle": 30}
Record = dict[str, Any]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and locks of Linux")


@pytest.fixture
def folder(carn_like_bundle: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    if request.getfixturevalue("operation") == "bundle":
        shutil.copytree(carn_like_bundle, tmp_path / "out")
    return tmp_path


def kills(*args: object) -> list[Record]:
    command = [sys.executable, "-m", "tests.pcsr.kills", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_signal_at_any_call_of_the_system(operation: str, folder: Path) -> None:
    records = kills("steps", operation, folder)
    assert len(records) >= 4 * LEAST_STEPS[operation]
    for record in records:
        assert record["holds"] in ("o", "n"), record
        if record["signal"] == "SIGKILL":
            assert record["code"] == -9, record
        else:
            assert record["left"] == [], record
            assert record["code"] in (0, 130), record
            assert record["code"] == 130 or record["holds"] == "n", record
            placed = record["holds"] == "n" and operation != "bundle"
            assert record["code"] == 0 or not placed, record


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_signal_at_a_random_moment(operation: str, folder: Path) -> None:
    *records, rerun = kills("random", operation, folder, -(-KILLS // len(OPERATIONS)))
    for record in records:
        assert record["holds"] in ("o", "n"), record
        assert record["code"] == (-9 if record["signal"] == "SIGKILL" else 130), record
    assert (rerun["holds"], rerun["left"]) == ("n", [])
