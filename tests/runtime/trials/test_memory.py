"""What trials have found is remembered; whatever is wrong with the file costs another trial."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from pcsr.runtime.trials import memory
from pcsr.runtime.trials.memory import all_remembered, key_of, memory_file, remember, remembered
from pcsr.runtime.trials.outcome import TrialOutcome

OUTCOME = TrialOutcome("b", {"a": 2.0, "b": 1.5}, {"c": "not here"})
WRITER = """
import sys
from pcsr.runtime.trials.memory import key_of, remember
from pcsr.runtime.trials.outcome import TrialOutcome
for n in range(20):
    remember(key_of("backbone", f"{sys.argv[1]} {n}", "bf16", 1), TrialOutcome("a", {"a": n}, {}))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def key(sha256: str = "0" * 64, threads: int = 2) -> memory.Key:
    return key_of("backbone", sha256, "bf16", threads)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]


def test_what_was_found_is_remembered(caplog: pytest.LogCaptureFixture) -> None:
    assert remembered(key()) is None
    assert all_remembered() == []
    remember(key(), OUTCOME)
    remember(key(threads=1), TrialOutcome("a", {"a": 3.0}, {}))
    assert remembered(key()) == OUTCOME
    assert remembered(key("1" * 64)) is None
    assert [outcome.winner for _, outcome in all_remembered()] == ["b", "a"]
    assert warnings(caplog) == []


@pytest.mark.parametrize("part", ["processor", "pcsr", "kernels", "versions"])
def test_whatever_changes_it_is_forgotten(part: str) -> None:
    remember(key(), OUTCOME)
    assert remembered(dict(key()) | {part: "another"}) is None


def test_deleting_the_file_forgets(cache: Path) -> None:
    remember(key(), OUTCOME)
    file = memory_file()
    assert file == cache / "pcsr" / "cpu-choices.json"
    file.unlink()
    assert remembered(key()) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": "x"}',
        '{"format": "pcsr-cpu-choices", "format_version": 1}',
        '{"format": "pcsr-cpu-choices", "format_version": 1, "choices": [1]}',
        '{"format": "pcsr-cpu-choices", "format_version": 1, "choices": [{"key": {}}]}',
        " " * (memory.MOST_BYTES + 1),
    ],
)
def test_a_damaged_file_is_written_anew(
    text: str, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (cache / "pcsr").mkdir(parents=True)
    (cache / "pcsr" / "cpu-choices.json").write_text(text)
    assert remembered(key()) is None
    (line,) = warnings(caplog)
    assert "cpu-choices.json cannot be read (" in line
    remember(key(), OUTCOME)
    assert remembered(key()) == OUTCOME


def test_another_version_is_left_alone_until_it_is_written(cache: Path) -> None:
    (cache / "pcsr").mkdir(parents=True)
    file = cache / "pcsr" / "cpu-choices.json"
    file.write_text(json.dumps({"format": "pcsr-cpu-choices", "format_version": 2}))
    assert remembered(key()) is None


def test_a_folder_that_cannot_be_written_warns(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file")
    remember(key(), OUTCOME)
    assert remembered(key()) is None
    lines = warnings(caplog)
    assert "is tried again each time: " in lines[0]
    assert "is a file, expected a folder" in lines[0]


def test_no_home_warns(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def no_home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setenv("XDG_CACHE_HOME", "relative, which does not count")
    monkeypatch.setattr(Path, "home", no_home)
    assert memory_file() is None
    assert remembered(key()) is None
    remember(key(), OUTCOME)
    assert "set XDG_CACHE_HOME" in warnings(caplog)[0]


def test_long_reasons_can_be_read_again() -> None:
    remember(key(), TrialOutcome("a", {"a": 1.0}, {"b": "x\n" * 1000}))
    found = remembered(key())
    assert found is not None
    assert found.dropped["b"].startswith("x x")


def test_it_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_ENTRIES", 3)
    for threads in range(1, 6):
        remember(key(threads=threads), OUTCOME)
    assert [found["threads"] for found, _ in all_remembered()] == [3, 4, 5]


def test_two_processes_write_at_once() -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, name], stderr=subprocess.PIPE)
        for name in ("one", "two")
    ]
    for writer in writers:
        _, said = writer.communicate(timeout=60)
        assert (writer.returncode, said) == (0, b"")
    assert len(all_remembered()) == 40
