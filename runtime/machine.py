"""The machine that times belong to: processor, usable cores, memory, installed packages."""

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pcsr.errors import BackendError

ONNX_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
PACKAGES = ("numpy", *ONNX_RUNTIMES, "torch", "pillow")


@cache
def cpu_name() -> str:
    """As the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_two_packages() -> None:
    """Raises BackendError where both builds of ONNX Runtime are installed: they own the same import
    folder, and which of them loads is chance.
    """
    if len(versions(*ONNX_RUNTIMES)) > 1:
        raise BackendError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; run "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install the one you want"
        )


def versions(*packages: str) -> dict[str, str]:
    """Of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


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
