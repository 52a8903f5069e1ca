"""How much others computed while something was measured."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

IDLE = (3, 4)  # columns of /proc/stat: idle, waiting for a disk
COLUMNS = 8  # user, nice, system, idle, iowait, irq, softirq, steal; guests are within user


@dataclass(frozen=True)
class Load:
    """Clocks at one moment, in seconds. busy_s: of all cores since the system's start, what other
    guests of a virtual machine took included; None where the system does not say.
    """

    wall_s: float
    own_s: float
    busy_s: float | None

    @classmethod
    def now(cls) -> "Load":
        """Of this process and its machine."""
        return cls(time.perf_counter(), time.process_time(), _busy_s(Path("/proc/stat")))


def foreign_cores(before: Load, after: Load) -> float | None:
    """Cores that others than this process kept busy on average between two moments."""
    if before.busy_s is None or after.busy_s is None or after.wall_s <= before.wall_s:
        return None
    foreign_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return max(0.0, foreign_s / (after.wall_s - before.wall_s))


def _busy_s(file: Path) -> float | None:
    try:
        line = file.read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return None
    ticks = [int(number) for number in line.split()[1 : 1 + COLUMNS]]
    return (sum(ticks) - sum(ticks[column] for column in IDLE)) / os.sysconf("SC_CLK_TCK")
