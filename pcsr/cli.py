"""The commands' common parts: errors as one line and an exit code, progress bars, text files."""

import functools
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click

from pcsr.atomic import atomic_file, refuse_existing
from pcsr.errors import OutputError, PcsrError
from pcsr.text import one_line

STDOUT = Path("-")
Command = TypeVar("Command", bound=Callable[..., Any])
Item = TypeVar("Item")
Bar = AbstractContextManager[Iterable[Item]]
FILE = click.Path(path_type=Path)


def _together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


image_options = _together(
    click.argument("bundle", type=FILE),
    click.argument("images", nargs=-1, required=True, type=FILE),
    click.option(
        "--scale", type=float, help="Upscale by at least 1.  [default: the trained scale]"
    ),
    click.option(
        "--refine/--no-refine", default=True, show_default=True, help="Smooth light pixels."
    ),
    click.option("--json", "json_file", type=FILE, help="Write JSON to this file; - for stdout."),
    click.option("--overwrite", is_flag=True, help="Replace existing output files."),
    click.option(
        "--max-pixels",
        type=click.IntRange(1),
        default=2**27,
        show_default=True,
        help="Refuse larger files before decoding them.",
    ),
    click.option("--recursive", is_flag=True, help="Look into sub-folders."),
)
"""Decorates a command with BUNDLE, IMAGES, and how they are read and reported."""
runtime_options = _together(
    click.option("--device", default="cpu", show_default=True, help="Run on cpu, cuda or cuda:N."),
    click.option(
        "--backend",
        default="auto",
        show_default=True,
        help="Run with auto, native, onnxruntime, torch or tensorrt.",
    ),
    click.option(
        "--precision",
        default="fp32",
        show_default=True,
        help="Run these graphs of the bundle: fp32, fp16, int8, ...",
    ),
)
"""Decorates a command with what an `Upscaler` is opened with."""


def command_errors(function: Command) -> Command:
    """Decorates a command's body: a PcsrError becomes one line on stderr and its exit code.

    The code is 0 when all is done, 1 if some files failed or a result could not be written, 2 for
    wrong usage or input, 3 for a missing device or backend, 130 after an interrupt.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        try:
            _interrupt_on_terminate()
            return function(*args, **kwargs)
        except PcsrError as error:
            complain(error)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted; nothing half-written was left behind", err=True)
            sys.exit(130)
        except MemoryError:
            complain(PcsrError("out of memory; use a smaller image or a smaller scale"))
            sys.exit(1)
        except BrokenPipeError:
            raise
        except OSError as error:
            complain(PcsrError(f"cannot print the result: {error.strerror or error}"))
            sys.exit(1)

    return wrapped  # type: ignore[return-value]


def _interrupt_on_terminate() -> None:
    """Makes SIGTERM do what Ctrl-C does, in a background job too, where shells ignore Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):
            raise KeyboardInterrupt
        handler(number, frame)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def show_log() -> None:
    """Shows what the library says of engines that it builds, on stderr."""
    log = logging.getLogger("pcsr")
    log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)
    logging.getLogger("pcsr.upscaler").setLevel(logging.WARNING)


def progress(items: Iterable[Item], label: str, length: int | None = None) -> Bar[Item]:
    """Returns a context of the same items, with a progress bar where stderr is a terminal."""
    if sys.stderr.isatty():
        return click.progressbar(items, length, label=label, file=sys.stderr)
    return nullcontext(items)


def check_text_output(file: Path | None, overwrite: bool) -> None:
    """Raises OutputError, before the computation, for a file that `write_text` could not write."""
    if file is None or file == STDOUT:
        return
    refuse_existing(file, overwrite)
    if not file.parent.is_dir():
        raise OutputError(f"cannot write {file}: there is no folder {file.parent}")


def write_text(file: Path, text: str, overwrite: bool) -> None:
    """Writes a file as a whole, or to stdout where it is `-`."""
    if file == STDOUT:
        click.echo(text, nl=False)
        return
    with atomic_file(file, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_outputs(curve: Path | None, json_file: Path | None, overwrite: bool) -> None:
    """Refuses, before the computation, what could not be drawn or written after it."""
    if curve is not None:
        from pcsr.images import check_output

        check_output(curve, overwrite)
    check_text_output(json_file, overwrite)


def print_report(table: str, text: str, json_file: Path | None, overwrite: bool) -> None:
    """Prints the table, unless the JSON text goes to stdout, and writes the JSON where asked to."""
    if json_file != STDOUT:
        click.echo(table)
    if json_file is not None:
        write_text(json_file, text, overwrite)


def complain(error: Exception) -> None:
    """Prints an error as one line on stderr, over a progress bar where one is shown."""
    _print_over_bar(f"error: {error}")


def warn(text: str) -> None:
    """Prints a warning as one line on stderr, as `complain` does."""
    _print_over_bar(f"warning: {text}")


def _print_over_bar(text: str) -> None:
    over_bar = "\r\x1b[K" if sys.stderr.isatty() else ""
    click.echo(f"{over_bar}{one_line(text)}", err=True)
