"""Partial results of a calibration: taken over by the same one, by no other."""

from pathlib import Path

import pytest

from pcsr.calibration.work_file import LoggedProgress, WorkFile


def interrupt(work: WorkFile) -> None:
    with work:
        raise KeyboardInterrupt


def leave(folder: Path, identity: object) -> Path:
    """What an interrupted calibration leaves."""
    work = WorkFile(folder / "b", "x", identity)
    work.keep("one", [1.5])
    with pytest.raises(KeyboardInterrupt):
        interrupt(work)
    return work.path


def test_an_interrupted_one_goes_on(tmp_path: Path) -> None:
    leave(tmp_path, {"a": 1})
    work = WorkFile(tmp_path / "b", "x", {"a": 1})
    assert work.found == {"one": [1.5]}
    assert work.answer("one", lambda: [2.5]) == [1.5]
    assert work.answer("two", lambda: 3) == 3


def test_another_one_begins_anew(tmp_path: Path) -> None:
    leave(tmp_path, {"a": 1})
    assert WorkFile(tmp_path / "b", "x", {"a": 2}).found == {}
    assert WorkFile(tmp_path / "b", "y", {"a": 1}).found == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"key": 1}', "\x00"])
def test_a_damaged_file_is_as_none(tmp_path: Path, text: str) -> None:
    leave(tmp_path, 1).write_text(text)
    assert WorkFile(tmp_path / "b", "x", 1).found == {}


def test_it_goes_away_when_all_is_done(tmp_path: Path) -> None:
    leave(tmp_path, 1)
    with WorkFile(tmp_path / "b", "x", 1):
        pass
    assert not list(tmp_path.iterdir())


def test_results_are_written_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkFile, "every_s", 0.0)
    WorkFile(tmp_path / "b", "x", 1).keep("one", 1)
    assert WorkFile(tmp_path / "b", "x", 1).found == {"one": 1}


def test_progress_without_a_terminal_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoggedProgress, "every_s", 0.0)
    with caplog.at_level("INFO"), LoggedProgress()([Path("a/1.png"), 2], "quality") as items:
        assert list(items) == [Path("a/1.png"), 2]
    assert caplog.messages == ["quality: 1 of 2 (1.png)", "quality: 2 of 2"]


def test_quick_progress_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), LoggedProgress()(range(3), "quality") as items:
        assert list(items) == [0, 1, 2]
    assert caplog.messages == []
