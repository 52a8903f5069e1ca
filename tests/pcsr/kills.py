"""A process that writes outputs and is sent signals meanwhile: at each call of the system, or at
random. It forks for each, so that nothing is imported twice. Prints a line of JSON per signal.

    python -m tests.pcsr.kills steps|random OPERATION FOLDER [COUNT]
"""

import fcntl
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pcsr.cli
from pcsr.amend import commit, new_folder, with_calibration
from pcsr.atomic import atomic_directory, atomic_file, remove_leftovers, renaming, temporaries
from pcsr.bundle import Bundle
from pcsr.interrupts import expect_outputs
from pcsr.manifest import Manifest

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
SIZE = 2**18
LONGEST_S = 120  # a child that a signal does not end is killed by its alarm
CALLS: list[tuple[Any, str]] = [
    *((os, name) for name in ("open", "mkdir", "rename", "replace", "link", "unlink", "rmdir")),
    (renaming, "_rename"),
    (fcntl, "flock"),
]


def write_file(folder: Path, text: str) -> None:
    """Replaces a file."""
    with atomic_file(folder / "out", overwrite=True) as temporary:
        temporary.write_text(text * SIZE)


def write_directory(folder: Path, text: str) -> None:
    """Replaces a folder of two files."""
    with atomic_directory(folder / "out", overwrite=True) as temporary:
        for name in ("a", "b"):
            (temporary / name).write_text(text * SIZE)


def amend(folder: Path, text: str) -> None:
    """Replaces a calibration of a bundle."""
    with new_folder(folder / "out", "found") as found:

        def change(manifest: Manifest) -> Manifest:
            (found.path / "point.json").write_text(json.dumps({"text": text * SIZE}))
            return with_calibration(manifest, "operating_point", found.file("point.json"))

        commit(folder / "out", change)


def read_file(folder: Path) -> str:
    """Gives the letter that fills the file."""
    return _letter([(folder / "out").read_text()])


def read_directory(folder: Path) -> str:
    """Gives the letter that fills both files."""
    return _letter([(folder / "out" / name).read_text() for name in ("a", "b")])


def read_bundle(folder: Path) -> str:
    """Gives the letter that fills the calibration, whose hash is checked."""
    data: Any = Bundle.load(folder / "out").calibration("operating_point")
    return _letter([data["text"]])


OPERATIONS = {
    "file": (write_file, read_file),
    "directory": (write_directory, read_directory),
    "bundle": (amend, read_bundle),
}


def left(folder: Path) -> list[str]:
    """Lists what is neither an output nor in one."""
    kept = {"out", "fp32"}
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.name[:1] == "."]
    names += [path.name for path in folder.iterdir() if path.name not in kept]
    found = [path.parent.name for path in (folder / "out").glob("found*/point.json")]
    empty = [path.name for path in (folder / "out").glob("found*") if not any(path.iterdir())]
    return sorted({*names, *empty, *(found if len(found) > 1 else [])})


def _letter(texts: list[str]) -> str:
    letters = {letter for text in texts for letter in text}
    whole = all(len(text) == SIZE for text in texts) and len(letters) == 1
    return letters.pop() if whole else "BROKEN"


@contextmanager
def signal_at(number: int, step: int) -> Iterator[None]:
    """Sends this process a signal before (even) or after (odd steps) a call in `CALLS`."""
    counted = iter(range(10**6))

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*args: Any, **options: Any) -> Any:  # noqa: ANN401
            if next(counted) == step:
                os.kill(os.getpid(), number)
            try:
                return call(*args, **options)
            finally:
                if next(counted) == step:
                    os.kill(os.getpid(), number)

        return calling

    honest = [(module, name, getattr(module, name)) for module, name in CALLS]
    for module, name, call in honest:
        setattr(module, name, watched(call))
    try:
        yield
    finally:
        for module, name, call in honest:
            setattr(module, name, call)
        if next(counted) <= step:
            os._exit(99)  # there are no more steps


def forked(body: Callable[[], object]) -> int:
    """Starts a child that runs a body as a command does."""
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for number in (signal.SIGTERM, signal.SIGHUP):  # nohup and CI runners may have them ignored
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(LONGEST_S)
    code = 0
    try:
        pcsr.cli.command_errors(body)()
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        code = 98
    os._exit(code)


def ended(child: int) -> int:
    """Waits for a child; gives its exit code, or the signal's number below zero."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def report(number: int, code: int, folder: Path, read: Callable[[Path], str], **more: int) -> None:
    """Prints what a signal has done."""
    record = {"signal": signal.Signals(number).name, "code": code, "holds": read(folder)}
    print(json.dumps({**record, "left": left(folder), **more}), flush=True)  # noqa: T201


def clean(folder: Path) -> None:
    """Removes leftovers as the next run does."""
    temporaries._swept.clear()
    temporaries.SETTLED_S = 0.0
    remove_leftovers(folder)


def steps(operation: str, folder: Path) -> None:
    """Sends each signal at each step; the output holds `o` before, and `n` is to replace it."""
    write, read = OPERATIONS[operation]

    def body() -> None:
        expect_outputs(1)
        with signal_at(number, step):
            write(folder, "n")

    for number in SIGNALS:
        for step in range(1000):
            write(folder, "o")
            if (code := ended(forked(body))) == 99:
                break
            report(number, code, folder, read, step=step)
            clean(folder)


def at_random(operation: str, folder: Path, count: int) -> None:
    """Sends signals at random moments to processes that replace the output again and again."""
    write, read = OPERATIONS[operation]
    moments = random.Random(3)

    def body() -> None:
        while True:
            for letter in "on":
                write(folder, letter)

    write(folder, "o")
    for turn in range(count):
        number = SIGNALS[turn % len(SIGNALS)]
        child = forked(body)
        time.sleep(moments.uniform(0.01, 0.08))
        os.kill(child, number)
        report(number, ended(child), folder, read)
        temporaries._swept.clear()
        temporaries.SETTLED_S = 0.0
    write(folder, "n")
    report(signal.SIGKILL, 0, folder, read)


if __name__ == "__main__":
    mode, chosen, where = sys.argv[1:4]
    if mode == "steps":
        steps(chosen, Path(where))
    else:
        at_random(chosen, Path(where), int(sys.argv[4]))
