"""Adds what a calibration found to a bundle. Readers see it as it was, or with all that is new."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pcsr.atomic import atomic_file, writing
from pcsr.bundle import MANIFEST, Bundle
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

    Raises:
        OutputError: the bundle is not writable, the disk is full.
    """
    number, path = 1, bundle / name
    while path.exists():
        number += 1
        path = bundle / f"{name}-{number}"
    with writing(path):
        path.mkdir()
        try:
            yield Folder(bundle, path)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise


def commit(path: Path, change: Callable[[Manifest], Manifest]) -> Bundle:
    """Replaces the manifest of a bundle by what `change` makes of it, then removes the files that
    only the old one named.

    Raises:
        BundleError: there is no valid bundle any more.
        OutputError: it is not writable, the disk is full.
    """
    old = Bundle.load(path).manifest
    new = change(old)
    with atomic_file(path / MANIFEST, overwrite=True) as temporary:
        temporary.write_text(new.to_json(), encoding="utf-8")
    for name in old.files - new.files:
        _remove(path, name)
    return Bundle.load(path)


def with_calibration(manifest: Manifest, name: str, file: File) -> Manifest:
    """Returns the manifest with a calibration's JSON, in place of an older one."""
    return replace(manifest, calibrations={**manifest.calibrations, name: file})


def _remove(bundle: Path, name: str) -> None:
    file = (bundle / name).resolve()
    if not file.is_relative_to(bundle.resolve()):
        return
    file.unlink(missing_ok=True)
    folder = file.parent
    if folder != bundle.resolve() and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
