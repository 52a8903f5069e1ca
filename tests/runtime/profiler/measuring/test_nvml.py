"""NVML's package through a fake, nvidia-smi through its output."""

import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

from pcsr.runtime.profiler.measuring.nvml import GpuSensors, Reading, ask_smi


class NVMLError(Exception):
    pass


def fake_nvml(has_events: bool = True) -> Any:  # noqa: ANN401
    module: Any = ModuleType("pynvml")
    module.__spec__ = ModuleSpec("pynvml", None)
    module.NVMLError = NVMLError
    module.NVML_CLOCK_SM, module.NVML_CLOCK_MEM, module.NVML_TEMPERATURE_GPU = 1, 2, 0
    module.nvmlInit = lambda: None
    module.nvmlDeviceGetHandleByUUID = lambda uuid: uuid
    module.nvmlDeviceGetClockInfo = lambda handle, kind: {1: 1755, 2: 3201}[kind]
    module.nvmlDeviceGetMaxClockInfo = lambda handle, kind: 1980
    module.nvmlDeviceGetPowerUsage = lambda handle: 512_300
    module.nvmlDeviceGetTemperature = lambda handle, sensor: 61

    def limit(handle: str) -> int:
        raise NVMLError("not supported")

    module.nvmlDeviceGetEnforcedPowerLimit = limit
    name = "Event" if has_events else "Throttle"
    setattr(module, f"nvmlDeviceGetCurrentClocks{name}Reasons", lambda handle: 0x04)
    return module


@pytest.mark.parametrize("has_events", [True, False])
def test_what_nvml_tells(monkeypatch: pytest.MonkeyPatch, has_events: bool) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(has_events))
    gpu = GpuSensors("1234")
    assert gpu.source == "nvml"
    reading = gpu.read()
    assert reading is not None
    assert reading.power_w == pytest.approx(512.3)
    assert replace(reading, power_w=None) == Reading(1755, 1980, 3201, None, None, 61, 4)
    assert reading.throttled_by == ("its power limit",)
    assert "power_limit_w" not in reading.to_json()


def test_without_a_driver_nvidia_smi_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = fake_nvml()

    def no_driver() -> None:
        raise NVMLError("driver not loaded")

    module.nvmlInit = no_driver
    monkeypatch.setitem(sys.modules, "pynvml", module)
    answers = {
        "clocks.sm": "1500, 1980, 2619, 350.12, 700.00, 55",
        "clocks_event_reasons.active": "0x0000000000000020",
    }

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        assert command[-2:] == ["-i", "GPU-1234"]
        first = command[1].removeprefix("--query-gpu=").split(",")[0]
        return subprocess.CompletedProcess(command, 0, answers[first] + "\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    gpu = GpuSensors("GPU-1234")
    assert gpu.source == "nvidia-smi"
    assert gpu.read() == Reading(1500, 1980, 2619, 350.12, 700, 55, 0x20)


def test_where_nobody_answers_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: Any) -> None:  # noqa: ANN401
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("pcsr.runtime.profiler.measuring.nvml.find_spec", lambda name: None)
    assert GpuSensors("1").read() is None
    assert ask_smi(("driver_version",)) == {}


def test_a_field_that_is_not_available_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        is_long = "clocks.sm" in command[1]
        text = "1500, [N/A], 2619, [N/A], 700.00, 55" if is_long else "[N/A]"
        return subprocess.CompletedProcess(command, 0, text, "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("pcsr.runtime.profiler.measuring.nvml.find_spec", lambda name: None)
    assert GpuSensors("1").read() == Reading(1500, None, 2619, None, 700, 55, None)
