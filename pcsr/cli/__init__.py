"""The commands' common parts: errors as one line and an exit code, progress bars, text files."""

import functools
import mimetypes
import os
import resource
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from errno import EILSEQ, EINVAL, ELOOP, ENAMETOOLONG
from pathlib import Path
from typing import Any, TypeVar

import click

from pcsr.atomic import atomic_file, refuse_existing, writing
from pcsr.errors import OutputError, PcsrError, UsageError
from pcsr.interrupts import (
    INTERRUPTED,
    command_body,
    end_body,
    end_interrupted,
    silence,
    was_interrupted,
)
from pcsr.text import one_line

from .commands import Command as Command
from .commands import Group as Group
from .commands import command as command
from .commands import is_quiet as is_quiet
from .commands import option_group as option_group
from .commands import say as say
from .commands import show_log as show_log
from .options import FILE as FILE
from .options import NumberRange as NumberRange
from .options import cluster_options as cluster_options
from .options import image_options as image_options
from .options import json_option as json_option
from .options import mode_options as mode_options
from .options import overwrite_option as overwrite_option
from .options import runtime_options as runtime_options
from .options import threads_option as threads_option
from .options import tile_option as tile_option

STDOUT = Path("-")
Function = TypeVar("Function", bound=Callable[..., Any])
Item = TypeVar("Item")
Bar = AbstractContextManager[Iterable[Item]]


def command_errors(function: Function) -> Function:
    """Decorates a command's body: a PcsrError becomes one line on stderr and its exit code.

    The code is 0 when all is done, 1 if some files failed or a result could not be written, 2 for
    wrong usage or input, 3 for a missing device or backend, 130 after an interrupt.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        with command_body():
            try:
                return _flushed(function, *args, **kwargs)
            except BrokenPipeError:
                raise
            except (Exception, KeyboardInterrupt) as error:
                end_body()
                interrupted = was_interrupted() or isinstance(error, KeyboardInterrupt)
                line, code = (end_interrupted(), INTERRUPTED) if interrupted else _described(error)
                if line is None:
                    raise
                if isinstance(error, OSError) and sys.stdout is sys.__stdout__:
                    silence(1)
                _print_over_bar(line)
                sys.exit(code)

    return wrapped  # type: ignore[return-value]


def _flushed(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """Calls the body; a result that cannot be printed fails here, not when Python shuts down."""
    try:
        answer = function(*args, **kwargs)
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return answer


def _limited_mib() -> int | None:
    """Returns the limit of the address space, where libraries fail with errors of any kind."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit // 2**20


def _described(error: BaseException) -> tuple[str | None, int]:
    """Describes an error in one line, with the exit code; None where it is a fault of the code."""
    if isinstance(error, (click.exceptions.Exit, click.Abort)):
        return None, 1
    if isinstance(error, PcsrError):
        return f"error: {error}", error.exit_code
    if isinstance(error, MemoryError):
        advice = "free some, raise the limit (ulimit -v), or use less: --tile 64, a smaller image"
        return f"error: out of memory; {advice}", 1
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        advice = "raise the limit of memory (ulimit -v) or of processes (ulimit -u)"
        return f"error: cannot start another thread; {advice}, or use fewer --threads", 1
    if isinstance(error, (RuntimeError, SystemError, ImportError)) and _limited_mib():
        name, limit = type(error).__name__, f"{_limited_mib()} MiB (ulimit -v)"
        return f"error: {name}: {error}; memory is limited to {limit}: raise the limit", 1
    if isinstance(error, OSError) and error.filename is not None:
        reason = error.strerror or type(error).__name__
        return f"error: cannot use {os.fsdecode(error.filename)}: {reason}", _exit_code(error)
    if isinstance(error, OSError):
        return f"error: cannot print the result: {error.strerror or error}", 1
    return None, 1


def _exit_code(error: OSError) -> int:
    """Returns 2 for a name that the system refuses, 1 where reading or writing failed."""
    return 2 if error.errno in (ENAMETOOLONG, ELOOP, EILSEQ, EINVAL) else 1


def progress(items: Iterable[Item], label: str, length: int | None = None) -> Bar[Item]:
    """Returns a context of the same items, with a progress bar where stderr is a terminal, and
    none with --quiet.
    """
    if sys.stderr.isatty() and not is_quiet():
        return click.progressbar(items, length, label=label, file=sys.stderr)
    return nullcontext(items)


def check_text_output(file: Path | None, overwrite: bool) -> None:
    """Refuses, before the computation, a file that `write_text` could not write, or whose content
    it must not replace.

    Raises:
        UsageError: it is named as an image, video or sound, or lies in a bundle.
        OutputError: it exists and `overwrite` is off, holds no text, or has no folder.
    """
    if file is None or file == STDOUT or _is_stream(file):
        return
    from pcsr.bundle import MANIFEST

    kind = mimetypes.guess_type(file.name)[0] or ""
    if kind.startswith(("image/", "video/", "audio/")):
        raise UsageError(f"expected a name such as out.json for text, found {file}; name another")
    if (file.parent / MANIFEST).exists():
        raise UsageError(f"{file} lies in a bundle, whose files it may not replace; name another")
    refuse_existing(file, overwrite)
    if not file.parent.is_dir():
        raise OutputError(f"cannot write {file}: there is no folder {file.parent}")
    if file.exists() and not _is_text(file):
        raise OutputError(f"{file} holds no text and would be lost; choose another name")


def _is_stream(file: Path) -> bool:
    """Tests for a device or a pipe, which text is sent to."""
    return file.exists() and not file.is_file() and not file.is_dir()


def _is_text(file: Path) -> bool:
    with file.open("rb") as opened:
        return b"\0" not in opened.read(4096)


def write_text(file: Path, text: str, overwrite: bool) -> None:
    """Writes a file as a whole, links followed, or to stdout where it is `-`; devices and pipes are
    written to.
    """
    if file == STDOUT:
        click.echo(text, nl=False)
    elif _is_stream(file):
        with writing(file), file.open("w", encoding="utf-8") as stream:
            stream.write(text)
    else:
        with atomic_file(Path(os.path.realpath(file)), overwrite) as temporary:
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
    """Prints a warning as one line on stderr, as `complain` does; nothing with --quiet."""
    if not is_quiet():
        _print_over_bar(f"warning: {text}")


def _print_over_bar(text: str) -> None:
    over_bar = "\r\x1b[K" if sys.stderr.isatty() else ""
    try:
        click.echo(f"{over_bar}{one_line(text)}", err=True)
    except OSError:  # the terminal is gone: the work and its exit code stay as they are
        if sys.stderr is sys.__stderr__:
            silence(2)
