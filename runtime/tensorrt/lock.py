"""The lock that lets one builder at a time, over all processes, write into a folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pcsr.errors import OutputError

LOCK = ".lock"


@contextmanager
def one_builder(folder: Path, say: Callable[[str], object]) -> Iterator[None]:
    """Holds the folder's lock; waits, and says so, while another process holds it. The system frees
    the lock of a process that dies.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    descriptor = _acquire(folder, say)
    try:
        yield
    finally:
        os.close(descriptor)


def _acquire(folder: Path, say: Callable[[str], object]) -> int:
    while True:
        try:
            folder.mkdir(exist_ok=True)
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror}") from error
        try:
            _wait(descriptor, folder, say)
            if _is_current(descriptor, folder / LOCK):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # an export has replaced the bundle meanwhile


def _wait(descriptor: int, folder: Path, say: Callable[[str], object]) -> None:
    import fcntl  # late: not on Windows, where the rest of the package imports

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another process builds in {folder}; waiting for it …")
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
