"""The image files in folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pcsr.errors import UsageError

from .formats import SUFFIXES_READ


def find_images(inputs: Sequence[Path], recursive: bool = False) -> dict[Path, Path]:
    """Maps each image to its path relative to the given folder (a given file: to its name).

    Folders give their visible files of known suffix, sorted; linked sub-folders are not followed.

    Examples:
        >>> from pcsr.images import find_images
        >>> [str(name) for name in find_images([Path("photo.png")]).values()]
        ['photo.png']

    Raises:
        UsageError: an input is missing, or a folder is unreadable or has no image.
    """
    found: dict[Path, Path] = {}
    for given in inputs:
        paths = _listed(given, recursive)
        folder = given if given.is_dir() else given.parent
        found |= {path: path.relative_to(folder) for path in paths}
    return found


def _listed(given: Path, recursive: bool) -> list[Path]:
    try:
        given.stat()
        paths = list(_images_below(given, recursive)) if given.is_dir() else [given]
    except OSError as error:
        raise UsageError(f"cannot open {error.filename}: {error.strerror}; check it") from error
    if not paths:
        hint = "" if recursive else ", or pass --recursive to look into its sub-folders"
        raise UsageError(f"no {' '.join(SUFFIXES_READ)} file in {given}; name another folder{hint}")
    return paths


def _images_below(folder: Path, recursive: bool) -> Iterator[Path]:
    for entry in sorted(e for e in folder.iterdir() if not e.name.startswith(".")):
        if entry.is_dir():
            if recursive and not entry.is_symlink():
                yield from _images_below(entry, recursive)
        elif entry.suffix.lower() in SUFFIXES_READ:
            yield entry
