"""Renames that replace nothing, or exchange two names, in one step (Linux's renameat2)."""

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_NOREPLACE, _EXCHANGE = 1, 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK)


def rename_new(source: Path, target: Path) -> None:
    """Renames a file to a name that is free. Without renameat2 (NFS, macOS) it becomes a hard link,
    and `source` stays; without those (FAT) a file of the same instant may be replaced.

    Raises:
        FileExistsError: the name is taken.
        OSError: any other failure.
    """
    if _rename(source, target, _NOREPLACE):
        return
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        os.rename(source, target)


def exchange(one: Path, other: Path) -> bool:
    """Exchanges two names in one step; False where the system cannot.

    Raises:
        OSError: one of them is not there, or any other failure.
    """
    return _rename(one, other, _EXCHANGE)


def _rename(source: Path, target: Path, flags: int) -> bool:
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))
