"""The inputs of a run: named files, and the images that lie in named folders."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pcsr import images
from pcsr.errors import UsageError
from pcsr.runtime.files.video import READ


@dataclass
class Inputs:
    """What was found."""

    files: dict[Path, Path] = field(default_factory=dict)
    """Each with its path relative to the folder that it was found in; a named file has its name."""
    skipped: Counter[str] = field(default_factory=Counter)
    """How much of another kind lies in the folders, by kind."""
    failed: list[UsageError] = field(default_factory=list)
    """Folders that cannot be read, or hold no image."""

    def note(self) -> str | None:
        """Says in one line what was skipped; None if nothing was."""
        if not self.skipped:
            return None
        count = sum(self.skipped.values())
        files = "1 file of another kind" if count == 1 else f"{count} files of other kinds"
        hint = "; name videos to upscale them" if self.skipped.keys() & set(READ) else ""
        return f"skipped {files}: {_listed(self.skipped)}{hint}"


def find_inputs(given: Sequence[Path], recursive: bool, results: Sequence[Path] = ()) -> Inputs:
    """Finds the files to upscale. Named files are taken whatever they are. Folders give their
    visible files with the suffix of an image, sorted; `results` inside of them are not searched,
    linked folders neither.

    Raises:
        UsageError: a named input is missing, or there is no file at all.
    """
    found = Inputs()
    left_out = {os.path.realpath(path) for path in results}
    for path in given:
        _refuse_missing(path)
        if os.path.isdir(path):
            _look_into(path, recursive, left_out, found)
        else:
            found.files[path] = Path(path.name)
    if not found.files:
        raise UsageError("; ".join(str(error) for error in found.failed))
    return found


def _refuse_missing(path: Path) -> None:
    try:
        path.lstat()
    except OSError as error:
        if error.errno != errno.EACCES:  # what may not be read is said when it is read
            raise UsageError(f"cannot open {path}: {error.strerror}; check the name") from error


def _look_into(given: Path, recursive: bool, left_out: set[str], found: Inputs) -> None:
    before, skipped = len(found.files) + len(found.failed), Counter[str]()
    folders = [given]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as scanned:
                entries = sorted((e for e in scanned if e.name[0] != "."), key=lambda e: e.name)
        except OSError as error:
            found.failed.append(
                UsageError(f"cannot open the folder {folder}: {error.strerror}; check it")
            )
            continue
        inner = []
        for entry in entries:
            path = folder / entry.name
            if not os.path.isdir(path):
                if path.suffix.lower() in images.SUFFIXES_READ:
                    found.files[path] = path.relative_to(given)
                else:
                    skipped[_kind(path)] += 1
            elif recursive and entry.is_symlink():
                skipped["linked to another folder"] += 1
            elif recursive and os.path.realpath(path) not in left_out:
                inner.append(path)
        folders += reversed(inner)
    found.skipped += skipped
    if len(found.files) + len(found.failed) == before:
        found.failed.append(UsageError(_nothing_in(given, recursive, skipped)))


def _kind(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError:
        return "linked to nothing" if path.is_symlink() else "unreadable file"
    if not stat.S_ISREG(mode):
        return "pipe or device"
    return path.suffix.lower() or "without suffix"


def _nothing_in(folder: Path, recursive: bool, skipped: Counter[str]) -> str:
    there = f" (found: {_listed(skipped)})" if skipped else ""
    hint = "" if recursive else ", or pass --recursive to look into its sub-folders"
    suffixes = " ".join(images.SUFFIXES_READ)
    return f"no {suffixes} file in {folder}{there}; name another folder{hint}"


def _listed(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
