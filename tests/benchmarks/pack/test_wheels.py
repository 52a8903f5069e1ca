"""Wheels come from pip, of which a part is played here."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from benchmarks.pack.wheels import PACKAGES, download_wheels
from pcsr.errors import OutputError


def play_pip(monkeypatch: pytest.MonkeyPatch, brings: Sequence[str], error: str = "") -> list[str]:
    """Brings empty wheels of these names; gives what it was called with."""
    called: list[str] = []

    def run(command: Sequence[str], **_: Any) -> "CompletedProcess[str]":  # noqa: ANN401
        called.extend(command)
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        for name in brings:
            (folder / name).touch()
        return CompletedProcess(command, 1 if error else 0, "", error)

    monkeypatch.setattr(subprocess, "run", run)
    return called


def test_wheels_are_brought_in_the_versions_of_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["click-8-py3-none-any.whl", "tabulate-1-py3-none-any.whl"]
    called = play_pip(monkeypatch, names)
    assert [wheel.name for wheel in download_wheels(tmp_path)] == names
    assert called[:3] == [sys.executable, "-m", "pip"]
    assert {*PACKAGES, "--no-deps", "--only-binary=:all:"} <= {*called}
    assert Path(called[called.index("--constraint") + 1]).is_file()


@pytest.mark.parametrize(
    ("brings", "error", "says"),
    [
        (["click-8-py3-none-any.whl"], "", "1 wheels are there"),
        ([], "a\nERROR: no network\n", "ERROR: no network"),
    ],
)
def test_wheels_that_do_not_come_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brings: list[str], error: str, says: str
) -> None:
    play_pip(monkeypatch, brings, error)
    with pytest.raises(OutputError, match=says) as caught:
        download_wheels(tmp_path)
    assert "\n" not in str(caught.value)
