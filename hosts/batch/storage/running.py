"""One job at a time in a folder of results: a file says which one works there."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pcsr.atomic import make_folder, writing
from pcsr.atomic.locks import try_lock
from pcsr.errors import PcsrError, UsageError

from .manifest import FOLDER
from .places import Place

FILE = f"{FOLDER}/running"


@contextmanager
def running(place: Place) -> Iterator[None]:
    """Keeps other jobs out of a folder of results. What it makes there is removed afterwards.

    A local file is locked, which ends with the process. On other file systems, and on those without
    locks, the file itself counts; one of a process of this host that has ended does not.

    Raises:
        UsageError: another job works there; the place cannot be reached.
        OutputError: nothing can be written there.
    """
    if place.local:
        with _made(place.local / FOLDER), _locked(place, place.local / FILE):
            yield
        return
    if any(name == FILE for name, _ in place.files(FOLDER, recursive=False)):
        _refuse_living(place)
    place.write(FILE, _note())
    try:
        yield
    finally:
        with suppress(PcsrError):
            place.delete(FILE)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Makes a folder, and those above it. They are removed afterwards if they are still empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    try:
        yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def _locked(place: Place, path: Path) -> Iterator[None]:
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        locked = try_lock(descriptor)
        if locked is False or not os.fstat(descriptor).st_nlink:  # removed by its job just now
            raise _refusal(place, _read(place))
        if locked is None:
            _refuse_living(place)
        try:
            with writing(path):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, _note())
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _refuse_living(place: Place) -> None:
    note = _read(place)
    dead = note.get("host") == socket.gethostname() and note.get("started") != _started(note["pid"])
    if note and not dead:
        raise _refusal(place, note)


def _refusal(place: Place, note: Mapping[str, Any]) -> UsageError:
    begun = f", begun at {note['begun']} on {note['host']} (process {note['pid']})" if note else ""
    return UsageError(
        f"another job works on {place.shown()}{begun}; wait for it, or remove "
        f"{place.shown(FILE)} if it is dead"
    )


def _read(place: Place) -> dict[str, Any]:
    """Reads which job works there; nothing where that is not said."""
    try:
        note = json.loads(place.read(FILE))
    except (PcsrError, ValueError):
        return {}
    return note if isinstance(note, dict) and {"host", "pid", "begun"} <= note.keys() else {}


def _note() -> bytes:
    note = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}
    return json.dumps(note | {"begun": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}).encode()


def _started(process: int) -> str | None:
    """Gives what tells a process from an earlier one of its number; None where it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
