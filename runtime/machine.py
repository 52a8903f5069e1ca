"""The machine that times belong to: processor, usable cores, memory, installed packages."""

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pcsr.errors import BackendError

from .process.limits import first_number, group_bytes, group_cores, resource_bytes

CGROUP = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self")
ONNX_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
BF16_FLAGS = ("avx512_bf16", "amx_bf16")
INT8_FLAGS = ("avx_vnni", "avx512_vnni", "amx_int8")
PACKAGES = ("numpy", *ONNX_RUNTIMES, "openvino", "torch", "pillow")


@cache
def cpu_name() -> str:
    """Reads the processor's name, as the system calls it."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


@cache
def cpu_flags() -> frozenset[str]:
    """Reads what the processor and the system offer, as Linux calls it: `avx512_bf16`, ...; none
    where the system does not say.
    """
    return frozenset(_cpu_info("flags").split())


def bf16_instructions() -> list[str]:
    """Lists those instructions of the processor that multiply in bf16."""
    return [name for name in BF16_FLAGS if name in cpu_flags()]


def int8_instructions() -> list[str]:
    """Lists those instructions of the processor that multiply and add in int8."""
    return [name for name in INT8_FLAGS if name in cpu_flags()]


def usable_cores() -> int:
    """Counts the cores that this process may run on, and no more than a container's quota of CPU
    time amounts to, rounded up.
    """
    there = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        there = len(os.sched_getaffinity(0))
    return min(there, group_cores(CGROUP, PROCESS) or there)


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
    """Returns the versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine(threads: int) -> dict[str, Any]:
    """Describes what times on a CPU depend on, for json.dumps."""
    return {
        "cpu": cpu_name(),
        "cores_used": usable_cores(),
        "threads": threads,
        "versions": {"python": platform.python_version()} | versions(*PACKAGES),
    }


def waited_s() -> float:
    """Sums how long the threads of this process, of those that are left, have waited for a core so
    far; 0 where the system does not say.
    """
    waited_ns = 0
    for file in (PROCESS / "task").glob("*/schedstat"):
        try:
            waited_ns += int(file.read_text(encoding="ascii").split()[1])
        except (OSError, IndexError, ValueError):  # the thread has just ended
            continue
    return waited_ns / 1e9


def available_mib() -> float | None:
    """Reads what memory can be taken without swapping; None where the system does not say."""
    return _proc_mib("/proc/meminfo", "MemAvailable:")


def available_bytes() -> int:
    """Returns `available_mib`, or what is left of a container's limit, or of `ulimit -v` or
    `ulimit -d`, where that is less; 4 GiB where none is known.
    """
    system_mib = available_mib()
    system = None if system_mib is None else int(system_mib * 2**20)
    limits = (system, group_bytes(CGROUP, PROCESS), resource_bytes(PROCESS))
    return min((free for free in limits if free is not None), default=2**32)


def resident_mib() -> float | None:
    """Reads the resident memory of this process now; None where the system does not say."""
    return _proc_mib("/proc/self/status", "VmRSS:")


def peak_resident_mib() -> float | None:
    """Reads the most resident memory of this program so far; None where the system does not say.

    Not ru_maxrss: Linux hands that on through fork and exec, and a child of a large process would
    start at its parent's peak.
    """
    return _proc_mib("/proc/self/status", "VmHWM:")


def throttled_periods() -> int | None:
    """Counts how often the container's limit of CPU time has stopped it; None without a limit."""
    for file in (CGROUP / "cpu.stat", CGROUP / "cpu" / "cpu.stat"):
        found = first_number(file, "nr_throttled")
        if found is not None:
            return found
    return None


def _cpu_info(name: str) -> str:
    """Reads what /proc/cpuinfo says of the first processor; "" where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(found, "")


def _proc_mib(file: str, name: str) -> float | None:
    found = first_number(Path(file), name)
    return None if found is None else found / 1024
