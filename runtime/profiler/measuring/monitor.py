"""Defines what goes on around a measurement: the load of others, limits that strike, the GPU's
state.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from pcsr.runtime.machine import throttled_periods

from .nvml import Reading
from .stability import gpu_warnings, load_warnings

INTERVAL_S = 1.0
IDLE = (3, 4)  # columns of /proc/stat: idle, waiting for a disk
COLUMNS = 8  # user, nice, system, idle, iowait, irq, softirq, steal; guests are within user


@dataclass(frozen=True)
class Load:
    """Holds clocks at one moment, in seconds."""

    wall_s: float
    """Of `perf_counter`."""
    own_s: float
    """That this process computed."""
    busy_s: float | None
    """That all cores were busy since the system's start, what other guests of a virtual machine
    took included; None where the system does not say."""

    @classmethod
    def now(cls) -> "Load":
        """Reads those of this process and its machine."""
        return cls(perf_counter(), process_time(), _busy_s())


def foreign_cores(before: Load, after: Load) -> float | None:
    """Counts cores that others than this process kept busy on average between two moments."""
    if before.busy_s is None or after.busy_s is None or after.wall_s <= before.wall_s:
        return None
    foreign_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return max(0.0, foreign_s / (after.wall_s - before.wall_s))


def _busy_s() -> float | None:
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return None
    ticks = [int(number) for number in line.split()[1 : 1 + COLUMNS]]
    return (sum(ticks) - sum(ticks[column] for column in IDLE)) / os.sysconf("SC_CLK_TCK")


class Monitor:
    """Watches from when it is made. read_gpu: None on the CPU. throttled: how often a limit of CPU
    time struck; None without a limit.
    """

    def __init__(
        self,
        read_gpu: Callable[[], Reading | None] | None = None,
        throttled: Callable[[], int | None] = throttled_periods,
    ) -> None:
        self._read_gpu, self._throttled = read_gpu, throttled
        self._load, self._strikes = Load.now(), throttled() or 0
        self._readings: list[Reading] = []
        self._last_s = 0.0

    def tick(self) -> None:
        """Reads the GPU, between calls, once a second at most."""
        if self._read_gpu is None or perf_counter() - self._last_s < INTERVAL_S:
            return
        self._last_s = perf_counter()
        self._readings += filter(None, [self._read_gpu()])

    def warnings(self) -> list[str]:
        """Tells of all that happened since."""
        struck = (self._throttled() or 0) - self._strikes
        foreign = foreign_cores(self._load, Load.now()) if self._read_gpu is None else None
        return load_warnings(foreign, struck) + gpu_warnings(self._readings)

    def facts(self) -> dict[str, Any]:
        """Describes cores of others, and the GPU at its start, its end and between."""
        found = {"foreign_cores": foreign_cores(self._load, Load.now())}
        return found if self._read_gpu is None else found | {"gpu_state": self._gpu_state()}

    def _gpu_state(self) -> dict[str, Any]:
        if not self._readings:
            return {"source": "no answer of nvidia-smi"}
        clocks = [one.sm_mhz for one in self._readings if one.sm_mhz is not None]
        powers = [one.power_w for one in self._readings if one.power_w is not None]
        return {
            "source": "nvidia-smi",
            "before": self._readings[0].to_json(),
            "after": self._readings[-1].to_json(),
            "median_sm_mhz": median(clocks) if clocks else None,
            "median_power_w": median(powers) if powers else None,
        }
