"""Interrupts of a command: Ctrl-C, and SIGTERM and SIGHUP, which end it in the same way."""

import atexit
import fcntl
import importlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Any

INTERRUPTED = 130
MESSAGE = "interrupted; nothing half-written was left behind"
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_IMPORTING = "<frozen importlib._bootstrap>"

Handler = Callable[[int, FrameType | None], Any]
temporaries: set[Path] = set()
"""Files and folders of this process that are being written and have no final name yet."""


class _Phase(Enum):
    LIBRARY = "no command runs in this process"
    STARTING = "the command's modules are imported and its options parsed"
    WORKING = "its body runs"
    DONE = "its exit code is known, or all that it was to write is in place"


class _Command:
    """What an interrupt has to know of the process."""

    phase = _Phase.LIBRARY
    interrupted = False
    """Whether the body was sent a KeyboardInterrupt."""
    code = INTERRUPTED
    """What the process ends with."""
    late = 0
    """How many interrupts came when nothing was to be interrupted any more."""
    outputs: int | None = None
    """How many outputs are still to come, where the command has said so."""


_command = _Command()


def run_command(module: str, *args: Any) -> None:  # noqa: ANN401
    """Imports the module of a command and runs its `main`, as its console script does.

    An interrupt while it starts ends the process at once, in one line.
    """
    _open_closed_streams()
    _command.phase = _Phase.STARTING
    _install()
    atexit.register(_ignore_all)
    try:
        importlib.import_module(module).main(*args)
    except SystemExit as end:
        _command.code = end.code if isinstance(end.code, int) else 0
        raise


def _ignore_all() -> None:
    """Keeps Python from bringing the defaults back while it shuts down."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def command_body() -> Iterator[None]:
    """Runs the body of a command: SIGTERM and SIGHUP become a KeyboardInterrupt, as Ctrl-C is.

    A signal that is ignored, as nohup and shells with `&` have it, stays ignored. Handlers that
    were there before are back afterwards, unless the process is a console script.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _open_closed_streams()
    before = _command.phase
    replaced = _install() if before is _Phase.LIBRARY else {}
    _command.phase, _command.interrupted, _command.outputs = _Phase.WORKING, False, None
    try:
        yield
    finally:
        _command.phase = _Phase.DONE
        if before is _Phase.LIBRARY:
            for number, handler in replaced.items():
                signal.signal(number, handler)
            _command.phase = before


def was_interrupted() -> bool:
    """Tests whether the body of the command was interrupted, whatever became of the exception.

    Extension modules turn a KeyboardInterrupt into an ImportError or a RuntimeError of their own.
    """
    return _command.interrupted


def end_body() -> None:
    """Lets the command say how it ended: interrupts change nothing any more."""
    if _command.phase is _Phase.WORKING:
        _command.phase = _Phase.DONE


def expect_outputs(count: int) -> None:
    """Says how many files and folders the command writes. An interrupt after the last of them ends
    nothing: the command prints its report and ends with 0.
    """
    _command.outputs = count


def output_placed() -> None:
    """Counts an output that has its final name now."""
    if _command.outputs is not None:
        _command.outputs -= 1
        if _command.outputs == 0:
            end_body()


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Keeps interrupts until the body has ended, then lets the first of them happen. In a command,
    a second one ends the process at once.

    libvips logs through a Python callback, where an exception is printed and lost: an interrupt
    that arrives there would never stop the program.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Handler] = {}
    arrived: list[int] = []
    waiting = True

    def remember(number: int, frame: FrameType | None) -> None:
        if not waiting:
            before[number](number, frame)
        elif not arrived:
            arrived.append(number)
        elif before[number] is _interrupt and _command.phase is _Phase.WORKING:
            _leave()

    try:
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, remember)
        yield
    finally:
        waiting = False
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in arrived:
            before[number](number, None)


def _install() -> dict[int, Any]:
    """Handles all signals that are not ignored; returns the handlers that were there."""
    replaced = {}
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if handler is not signal.SIG_IGN and handler is not None:
            replaced[number] = signal.signal(number, _interrupt)
    return replaced


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Handles a signal: raises KeyboardInterrupt, or ends the process where that would go wrong."""
    if _command.phase is _Phase.DONE:
        _command.late += 1
        if _command.late > 1:  # whatever the process still waits for
            os._exit(_command.code)
        return
    if _command.phase is _Phase.LIBRARY:  # in a process that the command has forked
        raise KeyboardInterrupt
    # An import that fails half-way is reported as something else, or kills the process.
    imports = not temporaries and _is_importing(frame)
    if _command.phase is _Phase.STARTING or _command.interrupted or imports:
        _leave()
    _command.interrupted = True
    raise KeyboardInterrupt


def _forget() -> None:
    """Leaves to the process that was forked what it is writing."""
    temporaries.clear()
    _command.phase = _Phase.LIBRARY


os.register_at_fork(after_in_child=_forget)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _leave() -> None:
    """Ends the process now, and removes what is half-written first."""
    with suppress(OSError):
        os.write(2, f"{end_interrupted()}\n".encode(errors="replace"))
    os._exit(INTERRUPTED)


def end_interrupted() -> str:
    """Removes what is half-written, where an interrupt came in the way of that; returns the line
    that says how the command ended.
    """
    for path in list(temporaries):
        remove(path)
    left = [str(path) for path in list(temporaries) if os.path.lexists(path)]
    return f"interrupted; {', '.join(left)} was left behind" if left else MESSAGE


def remove(path: Path) -> None:
    """Removes a file or a folder as far as that is possible; a link, not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _open_closed_streams() -> None:
    """Opens the null device where a shell's `2>&-` has closed a standard stream: the next file that
    is opened would take its number, and be written what is meant for the terminal.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
            usable = number == 0 or mode != os.O_RDONLY  # a shell script's own file, in its place
        except OSError:
            usable = False
        if not usable:
            silence(number)
        if getattr(sys, name) is None:
            stream = open(number, "r" if number == 0 else "w", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def silence(number: int) -> None:
    """Lets a standard stream that cannot be written to lead nowhere: what waits in its buffer would
    make Python complain at the end, and change the exit code.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
