"""The formats of image files, what each can hold, and the files of such formats in folders."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pcsr.errors import ImageError, UsageError

WHITE = {"uchar": 255, "ushort": 65535, "float": 1}
"""White by libvips's name of the sample type."""
GREY = {"uchar": "b-w", "ushort": "grey16", "float": "b-w"}
"""The grey colour space by sample type, in libvips's words."""
RGB = {"uchar": "srgb", "ushort": "rgb16", "float": "scrgb"}
"""The RGB colour space by sample type, in libvips's words."""
BLOCKS = {"icc": "icc-profile-data", "exif": "exif-data", "xmp": "xmp-data", "iptc": "iptc-data"}
"""libvips's names of the blocks of `Metadata`."""


class Format(NamedTuple):
    """Holds what a kind of file can hold."""

    name: str
    suffixes: tuple[str, ...]
    signature: re.Pattern[bytes]
    """What its first bytes match."""
    samples: tuple[str, ...]
    """libvips's names of its sample types, the deepest last."""
    longest_side: int | None = None
    """In pixels; None where there is no limit that matters."""
    alpha: bool = True
    """Whether it holds alpha."""


FORMATS = (
    Format("PNG", (".png",), re.compile(rb"\x89PNG\r\n\x1a\n"), ("uchar", "ushort")),
    Format("JPEG", (".jpg", ".jpeg"), re.compile(rb"\xff\xd8\xff"), ("uchar",), 65_500, False),
    Format("TIFF", (".tif", ".tiff"), re.compile(rb"II[*+]\0|MM\0[*+]"), tuple(WHITE)),
    Format("WebP", (".webp",), re.compile(rb"RIFF.{4}WEBP", re.DOTALL), ("uchar",), 16_383),
)
SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)


def format_of(path: Path) -> Format:
    """Returns the format that a path's suffix names, or raises UsageError."""
    for form in FORMATS:
        if path.suffix.lower() in form.suffixes:
            return form
    raise UsageError(f"no known image suffix in {path}; expected one of {' '.join(SUFFIXES)}")


def check_fits(path: Path, form: Format, shape: tuple[int, ...]) -> None:
    """Raises ImageError where a format cannot hold pixels of this shape."""
    if form.longest_side and max(shape[:2]) > form.longest_side:
        raise ImageError(
            f"cannot write {path}: {form.name} holds at most {form.longest_side} pixels a side, "
            f"found {shape[1]}x{shape[0]} (width x height); write PNG or TIFF"
        )
    if shape[2:] in ((2,), (4,)) and not form.alpha:
        raise ImageError(f"cannot write {path}: {form.name} has no alpha; write PNG, TIFF or WebP")


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
        raise UsageError(f"no {' '.join(SUFFIXES)} file in {given}; name another folder{hint}")
    return paths


def _images_below(folder: Path, recursive: bool) -> Iterator[Path]:
    for entry in sorted(e for e in folder.iterdir() if not e.name.startswith(".")):
        if entry.is_dir():
            if recursive and not entry.is_symlink():
                yield from _images_below(entry, recursive)
        elif entry.suffix.lower() in SUFFIXES:
            yield entry
