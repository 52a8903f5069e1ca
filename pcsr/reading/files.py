"""Reads files that someone else may have made: ordinary files only, none larger than expected."""

import os
import stat
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_file(path: Path, most_bytes: int) -> bytes:
    """Reads a whole file. Never waits for a writer, as opening a named pipe does.

    Raises:
        OSError: there is none, it is no ordinary file, or it has more than `most_bytes`; `strerror`
            says which.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as error:  # a name with a NUL
        raise OSError(0, f"its name is no file's ({error})") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = KINDS.get(stat.S_IFMT(status.st_mode), "no file")
            raise OSError(0, f"it is {kind}, expected an ordinary file")
        data = file.read(most_bytes + 1) if status.st_size <= most_bytes else b""
    size = max(status.st_size, len(data))
    if size > most_bytes:
        raise OSError(0, f"it has {size:,} bytes, expected at most {most_bytes:,}")
    return data


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
