"""Shows a training run: a progress bar or log lines on stderr, and TensorBoard scalars."""

import sys
import time
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pcsr.interrupts import interrupts_deferred

from .trainer import Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LINES = 50  # per stage, where there is no terminal


class Reporter:
    """Is called after every iteration. Scalars go to `folder`/tensorboard where that is
    installed.
    """

    def __init__(self, folder: Path, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._writer = None if quiet else _writer(folder)
        self._started = (-1, 0, 0.0)  # stage, first iteration seen, when

    def __call__(self, progress: Progress) -> None:
        if self._quiet:
            return
        if self._started[0] != progress.stage:
            self._started = (progress.stage, progress.iteration, time.monotonic())
        self._write_scalars(progress)
        due = progress.iteration % max(1, progress.total // LINES) == 0
        if progress.validation or (due and not self._terminal):
            click.echo(f"{self._line_start()}{self._line(progress)}", err=True)
        elif self._terminal:
            click.echo(f"{self._line_start()}{self._line(progress)}", err=True, nl=False)

    def close(self) -> None:
        """Writes what TensorBoard still holds back."""
        if self._writer is not None:
            self._writer.close()

    def _line_start(self) -> str:
        return "\r\x1b[K" if self._terminal else ""

    def _line(self, progress: Progress) -> str:
        where = f"stage {progress.stage} {progress.iteration}/{progress.total}"
        figures = progress.losses | progress.validation
        shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        return f"{where} ({progress.iteration / progress.total:.0%}{self._left(progress)}): {shown}"

    def _left(self, progress: Progress) -> str:
        """Estimates the time to the end of the stage, at the pace since this process took it up."""
        _, first, since = self._started
        done, remaining = progress.iteration - first, progress.total - progress.iteration
        if not done or not remaining:
            return ""
        seconds = (time.monotonic() - since) / done * remaining
        return f", {timedelta(seconds=round(seconds))} left"

    def _write_scalars(self, progress: Progress) -> None:
        """An exception amid the writer's queue can lose a wake-up, and closing it then waits for
        minutes: Ctrl-C comes afterwards.
        """
        if self._writer is None:
            return
        with interrupts_deferred():
            for name, value in (progress.losses | progress.validation).items():
                self._writer.add_scalar(f"stage-{progress.stage}/{name}", value, progress.iteration)


def _writer(folder: Path) -> "SummaryWriter | None":
    if find_spec("tensorboard") is None:
        click.echo("note: tensorboard is not installed (pip install 'pcsr[train]')", err=True)
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder / "tensorboard")
