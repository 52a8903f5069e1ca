"""The results file: what a resumed run finds in it."""

import json
from pathlib import Path

import pytest

from benchmarks.records import append_group, complete_group, read_records
from tests.benchmarks.cpu.made import record


def group(size: int, date: str = "2024-01-01", key: str = "k") -> list[dict[str, object]]:
    where = {"threads": 2, "date": date}
    return [
        record(key=key, group_size=size, contender=str(n), environment=where) for n in range(size)
    ]


def test_every_line_is_json_of_one_contender(tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    append_group(file, group(2))
    append_group(file, group(3, key="other"))
    lines = file.read_text().splitlines()
    assert [json.loads(line)["contender"] for line in lines] == ["0", "1", "0", "1", "2"]
    assert read_records(file) == group(2) + group(3, key="other")


def test_a_file_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert read_records(tmp_path / "none.jsonl") == []


def test_values_that_json_does_not_know_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        append_group(tmp_path / "bench.jsonl", [record(median_ms=float("nan"))])


def test_a_whole_group_is_found_and_another_is_not(tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    append_group(file, group(2, key="other"))
    append_group(file, group(3))
    assert complete_group(read_records(file), "k") == group(3)
    assert complete_group(read_records(file), "unknown") is None


def test_a_torn_group_is_measured_again(tmp_path: Path) -> None:
    """The process died while it wrote: the last line is half there."""
    file = tmp_path / "bench.jsonl"
    append_group(file, group(3))
    file.write_text(file.read_text()[:-40])
    assert len(read_records(file)) == 2
    assert complete_group(read_records(file), "k") is None
    append_group(file, group(3, "2024-01-02"))
    assert complete_group(read_records(file), "k") == group(3, "2024-01-02")


def test_the_latest_whole_group_counts(tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    for date in ("2024-01-01", "2024-01-02"):
        append_group(file, group(2, date))
    append_group(file, group(2, "2024-01-03")[:1])
    assert complete_group(read_records(file), "k") == group(2, "2024-01-02")
