"""The machine and the software that times depend on, and memory of processes."""

import platform
from pathlib import Path
from typing import Any

from pcsr.runtime.installed import versions
from pcsr.runtime.processor import cpu_name
from pcsr.runtime.workers import usable_cores

PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "torch", "pillow")


def machine(threads: int) -> dict[str, Any]:
    """What times on a CPU depend on."""
    return {
        "cpu": cpu_name(),
        "cores_used": usable_cores(),
        "threads": threads,
        "versions": {"python": platform.python_version()} | versions(*PACKAGES),
    }


def available_mib() -> float | None:
    """Memory that can be taken without swapping; None where the system does not say."""
    return _proc_mib("/proc/meminfo", "MemAvailable:")


def resident_mib() -> float | None:
    """Resident memory of this process now; None where the system does not say."""
    return _proc_mib("/proc/self/status", "VmRSS:")


def peak_resident_mib() -> float | None:
    """Most resident memory of this program so far; None where the system does not say.

    Not ru_maxrss: Linux hands that on through fork and exec, and a child of a large process would
    start at its parent's peak.
    """
    return _proc_mib("/proc/self/status", "VmHWM:")


def throttled_periods() -> int | None:
    """How often the container's limit of CPU time has stopped it so far; None without a limit."""
    for file in ("/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat"):
        found = _first_number(Path(file), "nr_throttled")
        if found is not None:
            return found
    return None


def _proc_mib(file: str, name: str) -> float | None:
    found = _first_number(Path(file), name)
    return None if found is None else found / 1024


def _first_number(file: Path, name: str) -> int | None:
    """Of the line that begins with `name`."""
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.split()[:1] == [name]]
    return int(found[0]) if found else None
