"""Regular files, read up to a limit."""

import os
import stat
from pathlib import Path


def read_file(path: Path, most_bytes: int) -> bytes:
    """Reads a regular file of at most this many bytes, and waits for nothing else.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is a FIFO, a device or a folder, or larger.
    """
    # Without O_NONBLOCK a FIFO would be waited for before it can be told from a file.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        if found.st_size > most_bytes:
            raise ValueError(f"it has {found.st_size} bytes, more than {most_bytes}")
        return file.read(found.st_size)


def inside(root: Path, name: str) -> Path:
    """Gives the file of this name below a folder, links followed.

    Raises:
        ValueError: it lies outside the folder.
    """
    # Not Path.resolve, which raises RuntimeError for links in a circle.
    top, file = os.path.realpath(root), os.path.realpath(root / name)
    if not Path(file).is_relative_to(top):
        raise ValueError("it lies outside the bundle")
    return Path(file)
