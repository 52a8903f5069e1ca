"""Adds what a calibration found to a bundle. Readers see it as it was, or with all that is new."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pcsr.atomic import (
    atomic_file,
    dead_markers,
    folder_lock,
    marker,
    remove_leftovers,
    writing,
)
from pcsr.bundle import MANIFEST, Bundle
from pcsr.errors import BundleError
from pcsr.interrupts import interrupts_deferred, remove, temporaries
from pcsr.manifest import File, Manifest


@dataclass(frozen=True)
class Folder:
    """A new folder inside a bundle, whose files `file` names as the manifest does."""

    bundle: Path
    path: Path

    def file(self, name: str) -> File:
        """Returns name and hash of a file that was written here."""
        path = self.path / name
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return File(path.relative_to(self.bundle).as_posix(), digest)


@contextmanager
def new_folder(bundle: Path, name: str) -> Iterator[Folder]:
    """Yields a folder to fill, called `name`, or `name-2` and so on where that is taken. It is
    removed if the body fails; `commit` in the body makes it part of the bundle.

    What killed processes have left unfinished in the bundle is removed first.

    Raises:
        OutputError: the bundle is not writable, the disk is full.
    """
    with writing(bundle / name), ExitStack() as stack:
        made: list[Path] = []
        try:
            with folder_lock(bundle), interrupts_deferred():
                _remove_unfinished(bundle)
                made.append(_free_folder(bundle, name))
                temporaries.update(made)
                stack.enter_context(marker(made[0]))
            yield Folder(bundle, made[0])
        except BaseException:
            with interrupts_deferred():
                for path in made:
                    if not _is_named(bundle, path):
                        remove(path)
            raise
        finally:
            temporaries.difference_update(made)


def commit(path: Path, change: Callable[[Manifest], Manifest]) -> Bundle:
    """Replaces the manifest of a bundle by what `change` makes of it, then removes the files that
    only the old one named. Processes that do so at once take turns: each changes what the one
    before has written.

    Raises:
        BundleError: there is no valid bundle any more.
        OutputError: it is not writable, the disk is full.
    """
    Bundle.load(path)
    with writing(path), folder_lock(path):
        old = Bundle.load(path).manifest
        new = change(old)
        retired = [path / name for name in sorted(old.files - new.files) if _is_inside(path, name)]
        folders = {file.parent for file in retired} - {path}
        with interrupts_deferred():
            with ExitStack() as stack:
                for folder in filter(Path.is_dir, folders):
                    names = [file.name for file in retired if file.parent == folder]
                    stack.enter_context(marker(folder, json.dumps(names)))
                temporaries.difference_update((path / name).parent for name in new.files)
                with atomic_file(path / MANIFEST, overwrite=True) as temporary:
                    temporary.write_text(new.to_json(), encoding="utf-8")
                for file in retired:
                    file.unlink(missing_ok=True)
            for folder in folders:
                _remove_if_empty(folder)
    return Bundle.load(path)


def with_calibration(manifest: Manifest, name: str, file: File) -> Manifest:
    """Returns the manifest with a calibration's JSON, in place of an older one."""
    return replace(manifest, calibrations={**manifest.calibrations, name: file})


def _free_folder(bundle: Path, name: str) -> Path:
    """Makes a folder, or takes one that is empty: a killed process had just made it."""
    number, path = 1, bundle / name
    while os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        number += 1
        path = bundle / f"{name}-{number}"
    path.mkdir(exist_ok=True)
    return path


def _remove_unfinished(bundle: Path) -> None:
    """Removes folders that were never committed, and retired files that were to be removed."""
    remove_leftovers(bundle)
    for found in list(dead_markers(bundle)):
        folder, names = found.parent, _retired_names(found)
        manifest = Bundle.load(bundle).manifest
        for name in names:
            file = folder / name
            if file.parent == folder and file.relative_to(bundle).as_posix() not in manifest.files:
                file.unlink(missing_ok=True)
        found.unlink(missing_ok=True)
        if names:
            _remove_if_empty(folder)
        elif not _is_named(bundle, folder):
            remove(folder)


def _retired_names(found: Path) -> list[str]:
    """Reads a marker: the files that were to be removed; none where the folder is unfinished."""
    try:
        names = json.loads(found.read_text(encoding="utf-8"))
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _is_named(bundle: Path, folder: Path) -> bool:
    """Tests whether the manifest names a file in a folder of the bundle."""
    try:
        files = Bundle.load(bundle).manifest.files
    except BundleError:
        return False
    return any((bundle / name).is_relative_to(folder) for name in files)


def _is_inside(bundle: Path, name: str) -> bool:
    return (bundle / name).resolve().is_relative_to(bundle.resolve())


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
