"""Shows a training run: a progress bar or log lines on stderr, and TensorBoard scalars."""

import sys
import time
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pcsr.interrupts import interrupts_deferred

from .trainer import PREPARING, Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LINES = 50  # per stage, where there is no terminal


class Reporter:
    """Reports every iteration. Scalars go to `folder`/tensorboard where that is installed.

    every: a line per so many iterations where there is no terminal; None: LINES of them per stage.
    """

    def __init__(self, folder: Path, quiet: bool = False, every: int | None = None) -> None:
        self._quiet = quiet
        self._every = every
        self._terminal = sys.stderr.isatty()
        self._line_start = "\r\x1b[K" if self._terminal else ""
        self._folder = folder
        self._started = (-2, 0, 0.0)  # stage, first iteration seen, when

    @cached_property
    def _writer(self) -> "SummaryWriter | None":
        """Made for the first figures: a run that is refused before them leaves nothing."""
        return _writer(self._folder)

    def __call__(self, progress: Progress) -> None:
        if self._quiet:
            return
        if self._started[0] != progress.stage:
            self._started = (progress.stage, progress.iteration, time.monotonic())
        self._write_scalars(progress)
        every = None if progress.stage == PREPARING else self._every
        due = progress.iteration % (every or max(1, progress.total // LINES)) == 0
        line = f"{self._line_start}{self._line(progress)}"
        if progress.validation or (due and not self._terminal):
            _say(f"{line}\n")
        elif self._terminal:
            _say(line)

    def close(self) -> None:
        """Writes what TensorBoard still holds back."""
        writer: SummaryWriter | None = vars(self).get("_writer")
        if writer is not None:
            writer.close()

    def _line(self, progress: Progress) -> str:
        what = "patches" if progress.stage == PREPARING else f"stage {progress.stage}"
        where = f"{what} {progress.iteration}/{progress.total}"
        figures = progress.losses | progress.validation
        shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        done = f"{where} ({progress.iteration / progress.total:.0%}{self._left(progress)})"
        return f"{done}: {shown}" if shown else done

    def _left(self, progress: Progress) -> str:
        """Estimates the time to the end of the stage, at the pace since this process took it up."""
        _, first, since = self._started
        done, remaining = progress.iteration - first, progress.total - progress.iteration
        if not done or not remaining:
            return ""
        seconds = (time.monotonic() - since) / done * remaining
        return f", {timedelta(seconds=round(seconds))} left"

    def _write_scalars(self, progress: Progress) -> None:
        """Defers Ctrl-C, which amid the writer's queue can make closing it wait for minutes."""
        if self._writer is None:
            return
        with interrupts_deferred():
            for name, value in (progress.losses | progress.validation).items():
                self._writer.add_scalar(f"stage-{progress.stage}/{name}", value, progress.iteration)


def _writer(folder: Path) -> "SummaryWriter | None":
    if find_spec("tensorboard") is None:
        _say("note: tensorboard is not installed (pip install 'pcsr[train]')\n")
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder / "tensorboard")


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
