"""Limits of control groups, v1 and v2, on every level, and of resources."""

import subprocess
import sys
from pathlib import Path

import pytest

from pcsr.runtime import machine
from pcsr.runtime.process import limits

MIB = 2**20
UNLIMITED_V1 = 9223372036854771712
LIMITED = """
import resource
from pcsr.runtime import machine
before = machine.available_bytes()
taken = machine.first_number(machine.PROCESS / "status", "{line}") * 1024
resource.setrlimit(resource.{name}, (taken + 300 * 2**20, resource.RLIM_INFINITY))
print(machine.available_bytes() // 2**20, before // 2**20)
"""


@pytest.fixture
def process(tmp_path: Path) -> Path:
    """A folder in place of /proc/self."""
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "cgroup").write_text("0::/system.slice/pcsr.service\n")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder in place of /sys/fs/cgroup."""
    folder = tmp_path / "cgroup"
    (folder / "system.slice/pcsr.service").mkdir(parents=True)
    return folder


def v2(group: Path, limit: object, used: int, file_cache: int = 0, high: object = "max") -> None:
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.high").write_text(f"{high}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 7\ninactive_file {file_cache}\n")


def v1(group: Path, limit: int, used: int, file_cache: int = 0) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (group / "memory.usage_in_bytes").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {file_cache}\n")


def test_the_limit_of_the_own_group(root: Path, process: Path) -> None:
    v2(root / "system.slice/pcsr.service", 600 * MIB, 100 * MIB, 20 * MIB)
    assert limits.group_bytes(root, process) == 520 * MIB


def test_the_tightest_of_nested_groups(root: Path, process: Path) -> None:
    v2(root / "system.slice/pcsr.service", "max", 100 * MIB)
    v2(root / "system.slice", 400 * MIB, 300 * MIB)
    assert limits.group_bytes(root, process) == 100 * MIB
    v2(root / "system.slice/pcsr.service", 150 * MIB, 100 * MIB)
    assert limits.group_bytes(root, process) == 50 * MIB


def test_where_memory_is_throttled_it_ends(root: Path, process: Path) -> None:
    v2(root / "system.slice", 900 * MIB, 100 * MIB, high=300 * MIB)
    assert limits.group_bytes(root, process) == 200 * MIB


def test_version_1(root: Path, process: Path) -> None:
    (process / "cgroup").write_text("9:name=systemd:/\n4:cpu,memory:/docker/abc\n0::/\n")
    v1(root / "memory", UNLIMITED_V1, 10**10)
    assert (limits.group_bytes(root, process) or 0) > 2**60
    v1(root / "memory/docker/abc", 600 * MIB, 500 * MIB, 100 * MIB)
    assert limits.group_bytes(root, process) == 200 * MIB


def test_a_container_whose_path_is_the_hosts(root: Path, process: Path) -> None:
    (process / "cgroup").write_text("4:memory:/docker/abc\n0::/../other\n")
    v1(root / "memory", 300 * MIB, 120 * MIB)
    assert limits.group_bytes(root, process) == 180 * MIB


def test_without_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert limits.group_bytes(tmp_path / "none", tmp_path / "none") is None
    assert limits.group_cores(tmp_path / "none", tmp_path / "none") is None


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        *[("max 100000", None), ("", None), ("much", None)],
        *[("150000 100000", 2), ("200000 100000", 2), ("5000 100000", 1)],
    ],
)
def test_quotas_of_version_2(root: Path, process: Path, text: str, cores: int | None) -> None:
    (root / "system.slice/cpu.max").write_text(f"{text}\n")
    assert limits.group_cores(root, process) == cores


@pytest.mark.parametrize(("quota", "cores"), [(-1, None), (350000, 4), (100, 1)])
def test_quotas_of_version_1(root: Path, process: Path, quota: int, cores: int | None) -> None:
    (process / "cgroup").write_text("3:cpu,cpuacct:/docker\n")
    (root / "cpu/docker").mkdir(parents=True)
    (root / "cpu/docker/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (root / "cpu/docker/cpu.cfs_period_us").write_text("100000\n")
    assert limits.group_cores(root, process) == cores


def test_cores_are_those_of_the_quota(
    root: Path, process: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CGROUP", root)
    monkeypatch.setattr(machine, "PROCESS", process)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert machine.usable_cores() == 8
    (root / "cpu.max").write_text("250000 100000\n")
    assert machine.usable_cores() == 3
    (root / "cpu.max").write_text("2500000 100000\n")
    assert machine.usable_cores() == 8


@pytest.mark.parametrize(("name", "line"), [("RLIMIT_AS", "VmSize:"), ("RLIMIT_DATA", "VmData:")])
def test_limits_of_resources(name: str, line: str) -> None:
    command = [sys.executable, "-c", LIMITED.format(name=name, line=line)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    left, before = map(int, done.stdout.split())
    assert before > 400
    assert 250 < left <= 300
