"""Atomic outputs appear whole under their final name, or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pcsr.errors import OutputError


@contextmanager
def atomic_file(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary sibling of `path` (same suffix); renames it to `path` on success.

    On any exception, Ctrl-C included, the temporary file is removed and an existing `path` stays as
    it was. The body should only write: an OSError raised in it is reported as a failed write.

    Raises:
        OutputError: `path` exists and `overwrite` is off; the folder is missing or not writable;
            the disk is full.
    """
    refuse_existing(path, overwrite)
    temporary = _sibling(path, path.suffix)
    try:
        with writing(path):
            temporary.touch(exist_ok=False)
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yields a temporary sibling directory; renames it to `path` on success, replacing what is
    there.

    Raises:
        OutputError: the parent is missing or not writable; the disk is full.
    """
    temporary = _sibling(path)
    try:
        with writing(path):
            temporary.mkdir()
            yield temporary
            _swap_in(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises OutputError where `path` exists and may not be replaced."""
    with writing(path):
        is_folder, exists = path.is_dir(), os.path.lexists(path)
    if is_folder:
        raise OutputError(f"{path} is a directory, expected a file name for the result")
    if exists and not overwrite:
        raise OutputError(f"{path} exists; pass --overwrite to replace it, or choose another name")


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


def _sibling(path: Path, suffix: str = "") -> Path:
    return path.with_name(f".pcsr-{secrets.token_hex(4)}{suffix}")


def _swap_in(new: Path, path: Path) -> None:
    if not path.exists():
        os.replace(new, path)
        return
    retired = _sibling(path)
    os.replace(path, retired)
    try:
        os.replace(new, path)
    except BaseException:
        os.replace(retired, path)
        raise
    shutil.rmtree(retired, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError in the body into an OutputError that names `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}") from error
