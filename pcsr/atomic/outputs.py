"""Files and folders that appear whole under their final name, or not at all."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from pcsr.errors import OutputError
from pcsr.interrupts import interrupts_deferred, output_placed, remove

from .locks import folder_lock
from .renaming import exchange, rename_new
from .temporaries import sweep, temporary_file, temporary_folder

Check = Callable[[Path], object]
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


@contextmanager
def atomic_file(path: Path, overwrite: bool = False, is_output: bool = True) -> Iterator[Path]:
    """Yields a temporary sibling of `path` (same suffix); renames it to `path` on success.

    On any exception, Ctrl-C included, the temporary file is removed and an existing `path` stays as
    it was. The body should only write: an OSError raised in it is reported as a failed write.

    is_output: whether it is one of those that a command has said it writes.

    Raises:
        OutputError: `path` exists, or has appeared meanwhile, and `overwrite` is off; the folder is
            missing or not writable; the disk is full.
    """
    refuse_existing(path, overwrite)
    sweep(path.parent)
    with writing(path), temporary_file(path) as temporary:
        yield temporary
        with interrupts_deferred():
            if overwrite:
                os.replace(temporary, path)
            else:
                _rename_new(temporary, path)
            if is_output:
                output_placed()


@contextmanager
def atomic_directory(
    path: Path, overwrite: bool = False, check: Check = lambda path: None
) -> Iterator[Path]:
    """Yields a temporary sibling directory; renames it to `path` on success. An empty directory
    there is replaced, and with `overwrite` whatever is there, unless `check` raises for it.

    At every moment `path` is the old or the new one. Where the file system cannot exchange two
    names, it is missing for an instant; the next run puts back what a kill left aside.

    Raises:
        OutputError: `path` exists, or has appeared meanwhile, and `overwrite` is off; the parent is
            missing or not writable; the disk is full.
    """
    with writing(path):
        _put_back(path)
        sweep(path.parent)
        with temporary_folder(path) as temporary:
            yield temporary
            with interrupts_deferred():
                _place(temporary, path, overwrite, check)
                output_placed()


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises OutputError where `path` exists and may not be replaced."""
    with writing(path):
        is_folder, exists = path.is_dir(), os.path.lexists(path)
    if is_folder:
        raise OutputError(f"{path} is a directory, expected a file name for the result")
    if exists and not overwrite:
        raise _existing(path)


def make_folder(folder: Path) -> None:
    """Makes a folder, and those above it, where missing; raises OutputError where it cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next((p for p in (folder, *folder.parents) if os.path.lexists(p)), folder)
        raise OutputError(
            f"{file} is a file, expected a folder for the results; choose another name"
        ) from error
    except OSError as error:
        raise OutputError(f"cannot create {folder}: {error.strerror}") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError in the body into an OutputError that names `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}") from error


def _existing(path: Path) -> OutputError:
    return OutputError(f"{path} exists; pass --overwrite (overwrite=True), or choose another name")


def _rename_new(new: Path, path: Path) -> None:
    try:
        rename_new(new, path)
    except FileExistsError as error:
        raise _existing(path) from error


def _place(new: Path, path: Path, overwrite: bool, check: Check) -> None:
    while True:
        try:
            os.rename(new, path)  # replaces nothing but an empty folder
            return
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            if not overwrite:
                raise _existing(path) from error
        try:
            _replace(new, path, check)
            return
        except FileNotFoundError:
            if not new.exists():
                raise


def _replace(new: Path, path: Path, check: Check) -> None:
    """Puts `new` in the place of `path`. What was there has the name `new` then, or is removed."""
    # The lock: no calibration of it is half-way.
    with folder_lock(path) if path.is_dir() else nullcontext():
        before = path.lstat()
        check(path)
        if not exchange(new, path):
            _set_aside(new, path)
        elif not os.path.samestat(before, new.lstat()):  # another one, which came this instant
            try:
                check(new)
            except BaseException:
                exchange(new, path)
                raise


def _set_aside(new: Path, path: Path) -> None:
    aside = _aside(path)
    remove(aside)
    os.rename(path, aside)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(aside, path)
        raise
    remove(aside)


def _put_back(path: Path) -> None:
    """Ends what a process killed in `_set_aside` began."""
    aside = _aside(path)
    if os.path.lexists(aside) and not os.path.lexists(path):
        os.rename(aside, path)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.pcsr-old")
