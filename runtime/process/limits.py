"""What this process may take of the machine: the limits of its control groups (cgroups v1 and v2,
on every level above it) and of its resources (`ulimit`).
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class MemoryFiles(NamedTuple):
    """What the files of a memory controller are called."""

    limits: tuple[str, ...]
    used: str
    droppable: str
    """The line of memory.stat with the files' cache, which the kernel can drop."""


MEMORY = {
    "": MemoryFiles(("memory.max", "memory.high"), "memory.current", "inactive_file"),
    "memory": MemoryFiles(
        ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"
    ),
}
"""By the name of the v1 controller; v2 has one tree for all, without a name."""
RESOURCES = {"RLIMIT_AS": "VmSize:", "RLIMIT_DATA": "VmData:"}
"""Limits of a process, and the line of /proc/self/status that says what it has taken."""


def group_bytes(root: Path, process: Path) -> int | None:
    """Returns the memory that the control groups leave, the tightest level's; None without a limit.

    Args:
        root: where they are mounted, as /sys/fs/cgroup.
        process: the process, as /proc/self.
    """
    found = [
        _left(group, files)
        for controller, files in MEMORY.items()
        for group in _groups(root, process, controller)
    ]
    return min((left for left in found if left is not None), default=None)


def group_cores(root: Path, process: Path) -> int | None:
    """Returns the cores that the quotas of CPU time amount to, rounded up; None without one.

    root, process: as of `group_bytes`.
    """
    quotas = [_v2_quota(group) for group in _groups(root, process, "")]
    quotas += [_v1_quota(group) for group in _groups(root, process, "cpu")]
    return min((max(1, math.ceil(q)) for q in quotas if q is not None), default=None)


def resource_bytes(process: Path) -> int | None:
    """Returns what `ulimit -v` and `ulimit -d` leave of address space; None without a limit.

    process: as of `group_bytes`.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows has none
        return None
    found = []
    for name, line in RESOURCES.items():
        limit, _ = resource.getrlimit(getattr(resource, name))
        taken_kib = first_number(process / "status", line)
        if limit != resource.RLIM_INFINITY and taken_kib is not None:
            found.append(max(0, limit - 1024 * taken_kib))
    return min(found, default=None)


def first_number(file: Path, name: str) -> int | None:
    """Returns the number behind `name`, where a line begins with that; else None."""
    found = [line.split()[1] for line in _lines(file) if line.split()[:1] == [name]]
    return int(found[0]) if found else None


def _groups(root: Path, process: Path, controller: str) -> Iterator[Path]:
    """Yields the folders of the process's group and of those above it.

    In a container the path may be the host's, and lead nowhere: its upper levels are there.
    """
    base = root / controller
    for line in _lines(process / "cgroup"):
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            parts = [part for part in path.split("/") if part not in ("", ".", "..")]
            for count in range(len(parts), 0, -1):
                yield base.joinpath(*parts[:count])
            break
    yield base


def _left(group: Path, files: MemoryFiles) -> int | None:
    limits = [limit for name in files.limits if (limit := _number(group / name)) is not None]
    used = _number(group / files.used)
    droppable = first_number(group / "memory.stat", files.droppable)
    if not limits or used is None or droppable is None:
        return None
    return max(0, min(limits) - used + droppable)


def _v2_quota(group: Path) -> float | None:
    found = "".join(_lines(group / "cpu.max")).split()  # "max 100000" without a limit
    if len(found) != 2 or not all(part.isdecimal() for part in found):
        return None
    return int(found[0]) / max(1, int(found[1]))


def _v1_quota(group: Path) -> float | None:
    quota, period = (_number(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return None if quota is None or not period or quota < 0 else quota / period  # -1: no limit


def _number(file: Path) -> int | None:
    try:
        return int("".join(_lines(file)))
    except ValueError:  # not there, or "max"
        return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
