"""How much memory is left: the machine's, or the container's where that is less; and how long
threads have waited for a core.
"""

from pathlib import Path

import pytest

from pcsr.runtime import machine

MIB = 2**20


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /sys/fs/cgroup, empty."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine, "available_mib", lambda: 1000.0)
    return tmp_path


def _limit(container: Path, limit: str, used: str, file_cache: int = 0) -> None:
    (container / "memory.max").write_text(f"{limit}\n")
    (container / "memory.current").write_text(f"{used}\n")
    (container / "memory.stat").write_text(f"anon 7\ninactive_file {file_cache}\n")


def test_without_a_container_it_is_the_machines(container: Path) -> None:
    assert machine.available_bytes() == 1000 * MIB


def test_without_a_limit_it_is_the_machines(container: Path) -> None:
    _limit(container, "max", str(5 * MIB))
    assert machine.available_bytes() == 1000 * MIB


def test_what_is_left_of_the_containers_limit(container: Path) -> None:
    _limit(container, str(300 * MIB), str(120 * MIB))
    assert machine.available_bytes() == 180 * MIB


def test_a_limit_beyond_the_machine_does_not_matter(container: Path) -> None:
    _limit(container, str(9000 * MIB), str(120 * MIB))
    assert machine.available_bytes() == 1000 * MIB


def test_files_that_the_kernel_can_drop_are_not_in_the_way(container: Path) -> None:
    _limit(container, str(300 * MIB), str(290 * MIB), file_cache=200 * MIB)
    assert machine.available_bytes() == 210 * MIB


def test_a_full_container_has_nothing_left(container: Path) -> None:
    _limit(container, str(300 * MIB), str(301 * MIB))
    assert machine.available_bytes() == 0


@pytest.mark.parametrize("missing", ["memory.max", "memory.current", "memory.stat"])
def test_half_a_cgroup_counts_as_none(container: Path, missing: str) -> None:
    _limit(container, str(300 * MIB), str(120 * MIB))
    (container / missing).unlink()
    assert machine.available_bytes() == 1000 * MIB


def test_damaged_files_count_as_none(container: Path) -> None:
    _limit(container, "much", "")
    assert machine.available_bytes() == 1000 * MIB


def test_a_machine_that_does_not_say_has_four_gibibytes(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "available_mib", lambda: None)
    assert machine.available_bytes() == 2**32


def test_of_this_machine_it_is_some_memory() -> None:
    assert 2**20 < machine.available_bytes() < 2**50


def test_what_all_threads_have_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROCESS", tmp_path)
    assert machine.waited_s() == 0
    for thread, text in enumerate(["7 2000000000 3\n", "9 500000000 1\n", ""]):
        (tmp_path / "task" / str(thread)).mkdir(parents=True)
        (tmp_path / "task" / str(thread) / "schedstat").write_text(text)
    assert machine.waited_s() == 2.5
