"""What a training run shows: a progress bar or log lines on stderr, and TensorBoard scalars."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .trainer import Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LINES = 50  # per stage, where there is no terminal


class Reporter:
    """Called after every iteration. Scalars go to `folder`/tensorboard where that is installed."""

    def __init__(self, folder: Path, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._writer = None if quiet else _writer(folder)

    def __call__(self, progress: Progress) -> None:
        if self._quiet:
            return
        self._write_scalars(progress)
        due = progress.iteration % max(1, progress.total // LINES) == 0
        if progress.validation or (due and not self._terminal):
            click.echo(f"{self._line_start()}{_line(progress)}", err=True)
        elif self._terminal:
            click.echo(f"{self._line_start()}{_line(progress)}", err=True, nl=False)

    def _line_start(self) -> str:
        return "\r\x1b[K" if self._terminal else ""

    def _write_scalars(self, progress: Progress) -> None:
        if self._writer is None:
            return
        for name, value in (progress.losses | progress.validation).items():
            self._writer.add_scalar(f"stage-{progress.stage}/{name}", value, progress.iteration)


def _line(progress: Progress) -> str:
    figures = progress.losses | progress.validation
    shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    share = progress.iteration / progress.total
    return f"stage {progress.stage} {progress.iteration}/{progress.total} ({share:.0%}): {shown}"


def _writer(folder: Path) -> "SummaryWriter | None":
    if find_spec("tensorboard") is None:
        click.echo("note: tensorboard is not installed (pip install 'pcsr[train]')", err=True)
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder / "tensorboard")
