"""The state of a GPU, through what nvidia-smi prints."""

import subprocess
from typing import Any

import pytest

from pcsr.runtime.profiler.measuring.nvml import Reading, ask_smi, read_gpu

NEW, OLD = "clocks_event_reasons.active", "clocks_throttle_reasons.active"


def answer(monkeypatch: pytest.MonkeyPatch, text: str, reasons: str) -> None:
    """Has nvidia-smi print this where it knows the field of the reasons."""

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        assert command[-2:] == ["-i", "GPU-1234"]
        if reasons not in command[1]:
            raise subprocess.CalledProcessError(2, command)
        assert command[1].startswith("--query-gpu=clocks.sm,clocks.max.sm,clocks.mem,power.draw,")
        return subprocess.CompletedProcess(command, 0, text + "\n", "")

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.parametrize("reasons", [NEW, OLD])
def test_what_nvidia_smi_tells(monkeypatch: pytest.MonkeyPatch, reasons: str) -> None:
    answer(monkeypatch, "1500, 1980, 2619, 350.12, 700.00, 55, 0x0000000000000020", reasons)
    reading = read_gpu("GPU-1234")
    assert reading == Reading(1500, 1980, 2619, 350.12, 700, 55, 0x20)
    assert reading.throttled_by == ("its temperature (driver)",)


def test_a_field_that_is_not_available_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "1500, [N/A], 2619, [N/A], 700.00, 55, [N/A]", NEW)
    reading = read_gpu("GPU-1234")
    assert reading == Reading(1500, None, 2619, None, 700, 55, None)
    assert reading.throttled_by == ()
    assert "power_w" not in reading.to_json()


def test_where_nobody_answers_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: Any) -> None:  # noqa: ANN401
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(subprocess, "run", run)
    assert read_gpu("GPU-1") is None
    assert ask_smi(("driver_version",)) == {}
