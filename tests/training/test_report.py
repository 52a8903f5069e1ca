"""What a run shows on stderr."""

import signal
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from pcsr.training import report
from pcsr.training.report import Reporter
from pcsr.training.trainer import PREPARING, Progress


def test_lines_say_where_the_run_is_and_how_long_it_will_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    reporter = Reporter(tmp_path)
    capsys.readouterr()
    reporter(Progress(1, 501, 1000, {"reconstruction": 0.25}, {}))  # resumed here
    for iteration in range(502, 1001):
        now[0] += 2
        scores = {"psnr_db": 30.5} if iteration == 1000 else {}
        reporter(Progress(1, iteration, 1000, {"reconstruction": 0.125}, scores))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "stage 1 520/1000 (52%, 0:16:00 left): reconstruction 0.1250"
    assert lines[-1] == "stage 1 1000/1000 (100%): reconstruction 0.1250, psnr_db 30.5000"
    assert len(lines) == report.LINES // 2


def test_lines_say_how_many_patches_a_teacher_has_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    reporter = Reporter(tmp_path)
    capsys.readouterr()
    for number in range(1, 5):
        reporter(Progress(PREPARING, number, 4, {}, {}))
        now[0] += 30
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:] == [
        "patches 2/4 (50%, 0:01:00 left)",
        "patches 3/4 (75%, 0:00:30 left)",
        "patches 4/4 (100%)",
    ]


def test_scalars_go_to_tensorboard(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path)
    for iteration, loss in ((1, 0.5), (2, 0.25)):
        scores = {"psnr_db": 30.5} if iteration == 2 else {}
        reporter(Progress(0, iteration, 2, {"reconstruction": loss}, scores))
    reporter.close()
    written = EventAccumulator(str(tmp_path / "tensorboard"))
    written.Reload()
    losses = [(event.step, event.value) for event in written.Scalars("stage-0/reconstruction")]
    assert losses == [(1, 0.5), (2, 0.25)]
    assert [event.value for event in written.Scalars("stage-0/psnr_db")] == [30.5]


def test_ctrl_c_comes_after_all_scalars_of_an_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = Reporter(tmp_path)
    put, named = SummaryWriter.add_scalar, []

    def interrupted(writer: SummaryWriter, name: str, *values: float) -> None:
        signal.raise_signal(signal.SIGINT)
        put(writer, name, *values)
        named.append(name)

    monkeypatch.setattr(SummaryWriter, "add_scalar", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reporter(Progress(0, 1, 2, {"reconstruction": 0.5}, {"psnr_db": 30.5}))
    assert named == ["stage-0/reconstruction", "stage-0/psnr_db"]
    reporter.close()


def test_other_processes_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Reporter(tmp_path, quiet=True)(Progress(0, 1, 1, {"reconstruction": 1.0}, {"psnr_db": 1.0}))
    assert capsys.readouterr() == ("", "")
