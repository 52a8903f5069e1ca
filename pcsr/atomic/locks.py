"""Locks on files and folders that are there anyway: they end with their process and leave nothing.

On a file system without such locks (some network ones) nothing is locked.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pcsr.errors import OutputError

WAIT_S = 60.0


def try_lock(descriptor: int) -> bool | None:
    """Locks an open file or folder; False where another process has it, None where it cannot be
    locked at all.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which changes of what is in it take one after another.

    Raises:
        OutputError: others have held it for a minute.
        OSError: there is no such folder.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            locked = try_lock(descriptor)
            if locked is not False and _is_still(folder, descriptor):
                yield
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > deadline:
            raise OutputError(f"{folder} is in use by another process; try again when it has ended")
        time.sleep(0.02)


def _is_still(path: Path, descriptor: int) -> bool:
    """Tests whether the name leads to what was opened: it may have been replaced meanwhile."""
    return os.path.samestat(os.stat(path), os.fstat(descriptor))
