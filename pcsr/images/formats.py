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
    loader: str | None
    """libvips's operation that reads it; None where libvips has none."""
    samples: tuple[str, ...] = ()
    """libvips's names of the sample types that are written, the deepest last; none: only read."""
    longest_side: int | None = None
    """In pixels; None where there is no limit that matters."""
    alpha: bool = True
    """Whether it holds alpha."""


def _starts(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


_HEIF_BRANDS = rb"avif|avis|mif1|msf1|miaf|hei[cxms]|hev[cxms]"
_JPEG = ("JPEG", (".jpg", ".jpeg", ".jfif"), _starts(rb"\xff\xd8\xff"), "jpegload_source")
_TIFF = ("TIFF", (".tif", ".tiff"), _starts(rb"II[*+]\0|MM\0[*+]"), "tiffload_source")
FORMATS = (
    Format("PNG", (".png",), _starts(rb"\x89PNG\r\n\x1a\n"), "pngload_source", ("uchar", "ushort")),
    Format(*_JPEG, ("uchar",), 65_500, False),
    Format(*_TIFF, tuple(WHITE)),
    Format("WebP", (".webp",), _starts(rb"RIFF....WEBP"), "webpload_source", ("uchar",), 16_383),
    Format("GIF", (".gif",), _starts(rb"GIF8[79]a"), "gifload_source"),
    Format("AVIF", (".avif",), _starts(rb"....ftyp(%b)" % _HEIF_BRANDS), "heifload_source"),
    Format("BMP", (".bmp",), _starts(rb"BM"), None),
)
"""Only these are read, by operations that are called by name: libvips's other loaders are never
reached, whatever a file contains.
"""
_FOREIGN = {
    "JPEG XL": _starts(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "JPEG 2000": _starts(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  "),
    "PDF": _starts(rb"%PDF"),
    "Photoshop": _starts(rb"8BPS"),
    "OpenEXR": _starts(rb"\x76\x2f\x31\x01"),
    "SVG or XML": _starts(rb"\s*<(\?xml|svg)"),
    "a video": _starts(rb"\x1a\x45\xdf\xa3|....ftyp"),
}

SUFFIXES_READ = tuple(suffix for known in FORMATS for suffix in known.suffixes)
"""The suffixes of files that `read` takes; a folder's files are chosen by them."""
SUFFIXES_WRITTEN = tuple(s for known in FORMATS for s in known.suffixes if known.samples)
"""The suffixes that `write` takes."""
SUFFIXES = SUFFIXES_WRITTEN
"""The same: the formats that are both read and written."""


def format_of(path: Path) -> Format:
    """Returns the format that a path's suffix names for writing, or raises UsageError."""
    for form in FORMATS:
        if path.suffix.lower() in form.suffixes and form.samples:
            return form
    raise UsageError(
        f"no image suffix that is written in {path}; expected one of {' '.join(SUFFIXES_WRITTEN)}"
    )


def recognised(start: bytes) -> Format:
    """Returns the format of a file by its first bytes, or raises ImageError."""
    for form in FORMATS:
        if form.signature.match(start):
            return form
    found = f"a file that starts with {start[:8]!r}" if start else "an empty file"
    found = next((name for name, known in _FOREIGN.items() if known.match(start)), found)
    names = [form.name for form in FORMATS]
    raise ImageError(
        f"expected {', '.join(names[:-1])} or {names[-1]}, found {found}; convert it first"
    )


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
        raise UsageError(f"no {' '.join(SUFFIXES_READ)} file in {given}; name another folder{hint}")
    return paths


def _images_below(folder: Path, recursive: bool) -> Iterator[Path]:
    for entry in sorted(e for e in folder.iterdir() if not e.name.startswith(".")):
        if entry.is_dir():
            if recursive and not entry.is_symlink():
                yield from _images_below(entry, recursive)
        elif entry.suffix.lower() in SUFFIXES_READ:
            yield entry
