"""The shared memory between a server and its Python processes: files in /dev/shm, named after the
pcsr-serve that runs the server.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/dev/shm")
_NAMED = re.compile(r"pcsr_([0-9]+)_([0-9]+)_")


def prefix() -> str:
    """Begins the names of this process's: pcsr_, its number, and that of the numbers' namespace, as
    containers may share the folder and have the same numbers.
    """
    return f"pcsr_{os.getpid()}_{_namespace()}_"


def remove_own() -> None:
    """Removes this process's, when its server has ended."""
    for region in FOLDER.glob(f"{prefix()}*"):
        _remove(region)


def remove_abandoned() -> None:
    """Removes those of this user whose process is gone: it was killed together with its server."""
    namespace = str(_namespace())
    for region in FOLDER.glob("pcsr_*"):
        named = _NAMED.match(region.name)
        if named and named[2] == namespace and not _exists(int(named[1])):
            _remove(region)


def _remove(region: Path) -> None:
    with suppress(OSError):
        if region.lstat().st_uid == os.getuid():
            region.unlink()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # of another user
    return True


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino
