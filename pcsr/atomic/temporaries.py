"""Temporary files and folders beside an output, and what killed processes left of theirs.

A process locks its own for as long as they are written. Their names say which system they were made
on (the boot of it), where a lock that is free means that the maker is dead. Those of other hosts,
whose locks may not be seen here, have to be a day old as well.
"""

import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from pcsr.interrupts import interrupts_deferred, remove, temporaries

from .locks import try_lock

SETTLED_S = 2.0
"""Age of a leftover: longer than it takes to lock a new file, or to remove a replaced folder."""
FOREIGN_S = 24 * 3600.0
_LONGEST_SUFFIX = 32
_NAME = re.compile(r"\.pcsr-(?:([0-9a-f]{8})-)?[0-9a-f]{8}(?:\.[^/]*)?", re.DOTALL)
_MARKER = ".unfinished"
_swept: set[str] = set()


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Yields an empty, locked sibling of `path` with its suffix; it is removed afterwards."""
    suffix = path.suffix if len(path.suffix) <= _LONGEST_SUFFIX else ""
    with _kept(path.with_name(_new_name() + suffix)) as temporary, _locked(_new_file(temporary)):
        yield temporary


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yields an empty, locked sibling folder of `path`; it is removed afterwards."""
    with _kept(path.with_name(_new_name())) as temporary:
        temporary.mkdir()
        with _locked(os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)):
            yield temporary


@contextmanager
def marker(folder: Path, text: str = "") -> Iterator[None]:
    """Keeps a file with this text in a folder while the body runs: `dead_markers` finds it if the
    process is killed meanwhile, by a second interrupt too.
    """
    file = folder / (_new_name() + _MARKER)
    try:
        with _locked(_new_file(file)):
            file.write_text(text, encoding="utf-8")
            yield
    finally:
        remove(file)


def dead_markers(parent: Path) -> Iterator[Path]:
    """Yields the markers that killed processes have left in the folders of `parent`."""
    for folder in sorted(parent.iterdir()):
        if folder.is_dir() and not folder.is_symlink():
            yield from [path for path in _leftovers(folder) if path.suffix == _MARKER]


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes of this user left in a folder."""
    for path in list(_leftovers(folder)):
        remove(path)


def sweep(folder: Path) -> None:
    """Removes leftovers from a folder when it is first written to; what cannot be read is left."""
    name = os.path.abspath(folder)
    if name not in _swept:
        _swept.add(name)
        with suppress(OSError):
            remove_leftovers(folder)


def _leftovers(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if (match := _NAME.fullmatch(entry.name)) and _is_dead(folder / entry.name, match[1]):
                yield folder / entry.name


def _is_dead(path: Path, system: str | None) -> bool:
    least_s = SETTLED_S if system == _system() else FOREIGN_S
    try:
        found = path.lstat()
        # A rename changes the ctime: what was exchanged just now is not old.
        age_s = time.time() - max(found.st_mtime, found.st_ctime)
        if found.st_uid != os.geteuid() or age_s < least_s:
            return False
        if stat.S_ISLNK(found.st_mode):
            return True
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return os.path.samestat(found, os.fstat(descriptor)) and try_lock(descriptor) is True
    finally:
        os.close(descriptor)


@contextmanager
def _kept(path: Path) -> Iterator[Path]:
    """Removes `path` afterwards, if it is still there; an interrupt waits for that."""
    temporaries.add(path)
    try:
        yield path
    finally:
        with interrupts_deferred():
            remove(path)
            temporaries.discard(path)


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    try:
        try_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _new_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _new_name() -> str:
    return f".pcsr-{_system()}-{secrets.token_hex(4)}"


@cache
def _system() -> str:
    """Returns what tells this running system from others and from itself before it was booted."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        boot = ""
    return boot[:8] if re.fullmatch(r"[0-9a-f]{8}", boot[:8]) else "00000000"
