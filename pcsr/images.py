"""Image files in and out: PNG, JPEG, TIFF and WebP through libvips."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyvips

from pcsr.atomic import atomic_file, refuse_existing
from pcsr.errors import ImageError, OutputError, UsageError
from pcsr.interrupts import interrupts_deferred
from pcsr.png_feed import PngFeed

_WHITE = {"uchar": 255, "ushort": 65535, "float": 1}
_GREY = {"uchar": "b-w", "ushort": "grey16", "float": "b-w"}
_RGB = {"uchar": "srgb", "ushort": "rgb16", "float": "scrgb"}
_BLOCKS = {"icc": "icc-profile-data", "exif": "exif-data", "xmp": "xmp-data", "iptc": "iptc-data"}
_SMALLEST_BLOCK = 4  # bytes; libvips refuses to save a shorter EXIF and crashes on an empty XMP
_FLOAT_RANGE = (-1.0, 2.0)  # room for overshoot around 0..1; data on another scale lie outside
_UNSTATED = (1.0, 1.0)  # the resolution (pixels per mm) of a file that states none, to libvips
_DPI_72 = (72 / 25.4, 72 / 25.4)  # what viewers assume for such a file
_CLASSIC_TIFF_BYTES = 2**32 - 2**24  # 4 GiB, less what deflate may add to noise


class _Format(NamedTuple):
    name: str
    suffixes: tuple[str, ...]
    signature: re.Pattern[bytes]
    samples: tuple[str, ...]
    longest_side: int | None = None
    alpha: bool = True


_FORMATS = (
    _Format("PNG", (".png",), re.compile(rb"\x89PNG\r\n\x1a\n"), ("uchar", "ushort")),
    _Format("JPEG", (".jpg", ".jpeg"), re.compile(rb"\xff\xd8\xff"), ("uchar",), 65_500, False),
    _Format("TIFF", (".tif", ".tiff"), re.compile(rb"II[*+]\0|MM\0[*+]"), tuple(_WHITE)),
    _Format("WebP", (".webp",), re.compile(rb"RIFF.{4}WEBP", re.DOTALL), ("uchar",), 16_383),
)
SUFFIXES = tuple(suffix for known in _FORMATS for suffix in known.suffixes)


@dataclass(frozen=True)
class Metadata:
    """What a file says about its pixels: raw blocks, and the resolution in pixels per mm (x, y)."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: tuple[float, float] = _DPI_72


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels [h,w] grey, [h,w,2] grey and alpha, [h,w,3] RGB or [h,w,4] RGBA, and their metadata.

    They are uint8, uint16 or float32 (0..1), alpha not premultiplied; others raise ImageError.
    """

    pixels: np.ndarray
    metadata: Metadata = field(default_factory=Metadata)

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        layout = len(shape) == 2 or (len(shape) == 3 and shape[2] in (2, 3, 4))
        if not layout or 0 in shape or dtype not in (np.uint8, np.uint16, np.float32):
            raise ImageError(
                "expected pixels [h,w] or [h,w,2..4], not empty, of uint8, uint16 or float32; "
                f"found {list(shape)} of {dtype}; convert them first"
            )

    def with_pixels(self, pixels: np.ndarray) -> "Picture":
        """The same metadata around other pixels, of any layout that `Picture` takes."""
        return replace(self, pixels=pixels)


def read(path: Path, max_pixels: int) -> Picture:
    """Decodes a PNG, JPEG, TIFF or WebP file, recognised by its content, and turns it upright.

    Samples keep their depth; 1-bit and palette images become 8 bit. Colour spaces other than grey
    and RGB become sRGB without an ICC profile. EXIF in a TIFF is not read (libvips does not).

    Raises:
        ImageError: the file is missing, unreadable, no such image, damaged or incomplete, has more
            than `max_pixels` (height x width, checked before decoding), several pages, or samples
            or channels that `Picture` does not take.
    """
    try:
        if path.exists() and not path.is_file():
            raise ImageError("it is a folder or a device; name an image file")
        with interrupts_deferred(), path.open("rb") as file:
            image = _load(file)
            _check_header(image, max_pixels)
            image = _to_grey_or_rgb(image)
            _check_layout(image)
            return Picture(_decode(image), _metadata(image))
    except ImageError as error:
        raise ImageError(f"cannot read {path}: {error}") from error
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}; name an image file") from error
    except pyvips.Error as error:
        reason = f"damaged, incomplete or of a rare kind ({_last_line(error)})"
        raise ImageError(f"cannot read {path}: {reason}; copy or save it again") from error


def write(picture: Picture, path: Path, overwrite: bool = False, quality: int = 95) -> None:
    """Encodes `picture` in the format that the suffix names; the file appears whole or not at all.

    JPEG and WebP round to 8 bit and PNG rounds float32 to 16 bit, clipped to 0..1; TIFF keeps every
    dtype. `quality` (1..100) is for JPEG and WebP; WebP at 100 is lossless, and has no grey, only
    RGB. Left out: an ICC profile that is damaged or for other channels, EXIF in TIFF (by libvips).

    Raises:
        UsageError: unknown suffix, or `quality` out of range.
        ImageError: the format cannot hold alpha, or an image of this size.
        OutputError: `path` exists and `overwrite` is off, or it cannot be written (disk full, ...).
    """
    check_output(path, overwrite, picture.pixels.shape)
    if not 1 <= quality <= 100:
        raise UsageError(f"expected a quality from 1 to 100, found {quality}")
    with (
        atomic_file(path, overwrite) as temporary,
        interrupts_deferred(),
        temporary.open("w+b") as file,
    ):
        try:
            form = _format_of(path)
            _save(_encodable(picture, form), form, file, quality)
        except pyvips.Error as error:
            raise OutputError(f"cannot write {path}: {_last_line(error)}; disk full?") from error


@contextmanager
def row_writer(
    like: Picture, size: tuple[int, int], path: Path, overwrite: bool = False, quality: int = 95
) -> Iterator[Callable[[np.ndarray], None]]:
    """As `write`, for a picture of `size` (height, width) that comes in rows [n,w] or [n,w,3] from
    top to bottom, each given to the yielded function. TIFF is tiled, and a BigTIFF.

    A thread encodes them meanwhile; a few megabytes of them are in memory. `like` gives channels
    (no alpha), dtype (uint8 or uint16) and metadata.

    Raises:
        UsageError, ImageError, OutputError: as `write`.
    """
    check_output(path, overwrite, (*size, *like.pixels.shape[2:]))
    with atomic_file(path, overwrite) as temporary, ThreadPoolExecutor(1, "pcsr-encode") as thread:
        outlet, inlet = os.pipe()
        failed: list[OutputError] = []
        encoding = thread.submit(_encode_rows, outlet, like.metadata, temporary, quality, failed)
        with os.fdopen(inlet, "wb") as pipe:
            feed = PngFeed(pipe, size, like.pixels)

            def take(rows: np.ndarray) -> None:
                if failed:
                    raise OutputError(f"cannot write {path}: {failed[0]}; disk full?")
                feed.write(rows)

            yield take
            feed.close()
        encoding.result()
        if failed:
            raise OutputError(f"cannot write {path}: {failed[0]}; disk full?")


def _encode_rows(
    outlet: int, metadata: Metadata, temporary: Path, quality: int, failed: list[OutputError]
) -> None:
    with os.fdopen(outlet, "rb") as pipe, temporary.open("w+b") as file:
        try:
            source = pyvips.Source.new_from_descriptor(pipe.fileno())
            rows = pyvips.Image.pngload_source(
                source, access="sequential", fail_on="truncated", unlimited=True
            )
            form = _format_of(temporary)
            _save(_described(rows, metadata), form, file, quality, streamed=True)
        except (pyvips.Error, OSError) as error:
            failed.append(OutputError(_last_line(error)))
            while pipe.read(2**20):  # or the writer would wait for ever
                pass


def check_output(path: Path, overwrite: bool, shape: tuple[int, ...] | None = None) -> None:
    """Raises, before the computation starts, what `write` would raise after it.

    `shape` is that of the coming pixels, [H,W] or [H,W,C]; None while it is not known.
    """
    form = _format_of(path)
    if shape is not None:
        _check_fits(path, form, shape)
    if not (os.path.isdir(path.parent) and os.access(path.parent, os.W_OK | os.X_OK)):
        raise OutputError(f"cannot write {path}: {path.parent} is no folder that can be written to")
    refuse_existing(path, overwrite)


def find_images(inputs: Sequence[Path], recursive: bool = False) -> dict[Path, Path]:
    """Maps each image to its path relative to the given folder (a given file: to its name).

    Folders give their visible files of known suffix, sorted; linked sub-folders are not followed.

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


def _format_of(path: Path) -> _Format:
    for form in _FORMATS:
        if path.suffix.lower() in form.suffixes:
            return form
    raise UsageError(f"no known image suffix in {path}; expected one of {' '.join(SUFFIXES)}")


def _check_fits(path: Path, form: _Format, shape: tuple[int, ...]) -> None:
    if form.longest_side and max(shape[:2]) > form.longest_side:
        raise ImageError(
            f"cannot write {path}: {form.name} holds at most {form.longest_side} pixels a side, "
            f"found {shape[1]}x{shape[0]} (width x height); write PNG or TIFF"
        )
    if shape[2:] in ((2,), (4,)) and not form.alpha:
        raise ImageError(f"cannot write {path}: {form.name} has no alpha; write PNG, TIFF or WebP")


def _load(file: BinaryIO) -> pyvips.Image:
    start = os.pread(file.fileno(), 16, 0)
    for form in _FORMATS:
        if form.signature.match(start):
            # "truncated" lets a truncated TIFF through; its large strips need "unlimited".
            options = {"unlimited": True} if form.name == "TIFF" else {}
            load = getattr(pyvips.Image, f"{form.name.lower()}load_source")
            source = pyvips.Source.new_from_descriptor(file.fileno())  # loads by name are cached
            return load(source, access="sequential", fail_on="error", **options)
    found = f"a file that starts with {start[:8]!r}" if start else "an empty file"
    raise ImageError(f"expected PNG, JPEG, TIFF or WebP, found {found}; convert it first")


def _check_header(image: pyvips.Image, max_pixels: int) -> None:
    pages, pixels = image.get_n_pages(), image.width * image.height
    if pages > 1:
        raise ImageError(f"expected one page, found {pages}; extract one first")
    if pixels > max_pixels:
        size = f"{image.width}x{image.height} = {pixels}"
        raise ImageError(f"expected at most {max_pixels} pixels, found {size}; raise --max-pixels")


def _to_grey_or_rgb(image: pyvips.Image) -> pyvips.Image:
    if image.interpretation in (*_GREY.values(), *_RGB.values(), "rgb"):
        return image
    deep = image.format != "uchar"
    if image.interpretation == "cmyk" and image.get_typeof(_BLOCKS["icc"]):
        image = image.icc_transform("srgb", embedded=True, depth=16 if deep else 8)
    image = image.colourspace("rgb16" if deep else "srgb").copy()
    image.remove(_BLOCKS["icc"])
    return image


def _check_layout(image: pyvips.Image) -> None:
    channels = (1, 2) if image.interpretation in _GREY.values() else (3, 4)
    if image.format not in _WHITE or image.bands not in channels:
        raise ImageError(
            "expected grey or RGB, alpha or not, of 8 or 16 bit unsigned or 32 bit float; found "
            f"{image.bands} {image.interpretation} channels of {image.format}; convert it first"
        )


def _decode(image: pyvips.Image) -> np.ndarray:
    if image.get_typeof("orientation") and image.get("orientation") > 1:
        image = image.copy_memory().autorot()
    pixels = np.atleast_2d(image.numpy())
    if image.format == "float":
        low, high = pixels.min(), pixels.max()
        if not (low >= _FLOAT_RANGE[0] and high <= _FLOAT_RANGE[1]):
            raise ImageError(f"expected samples in 0..1, found {low:g}..{high:g}; scale them first")
    return pixels


def _metadata(image: pyvips.Image) -> Metadata:
    blocks = {key: image.get(name) for key, name in _BLOCKS.items() if image.get_typeof(name)}
    stated = (image.xres, image.yres)
    return Metadata(**blocks, resolution=_DPI_72 if stated == _UNSTATED else stated)


def _encodable(picture: Picture, form: _Format) -> pyvips.Image:
    image = pyvips.Image.new_from_array(np.ascontiguousarray(picture.pixels))
    if image.format not in form.samples:
        deepest = form.samples[-1]
        image = image.linear(_WHITE[deepest] / _WHITE[image.format], 0).rint().cast(deepest)
    return _described(image, picture.metadata)


def _described(image: pyvips.Image, metadata: Metadata) -> pyvips.Image:
    xres, yres = metadata.resolution
    space = (_GREY if image.bands < 3 else _RGB)[image.format]
    image = image.copy(interpretation=space, xres=xres, yres=yres)
    for name, block in _kept_blocks(metadata, image.bands):
        image.set_type(pyvips.GValue.blob_type, name, block)
    # Last, because setting an EXIF block brings its orientation back.
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    return image


def _kept_blocks(metadata: Metadata, channels: int) -> Iterator[tuple[str, bytes]]:
    profile_space = b"GRAY" if channels < 3 else b"RGB "
    for key, name in _BLOCKS.items():
        block = getattr(metadata, key) or b""
        stated = (int.from_bytes(block[:4], "big"), block[16:20], block[36:40])
        usable = key != "icc" or stated == (len(block), profile_space, b"acsp")
        if len(block) >= _SMALLEST_BLOCK and usable:
            yield name, block


def _save(
    image: pyvips.Image, form: _Format, file: BinaryIO, quality: int, streamed: bool = False
) -> None:
    target = pyvips.Target.new_to_descriptor(file.fileno())
    if form.name == "PNG":
        image.pngsave_target(target, compression=3, filter="up")
    elif form.name == "JPEG":
        subsample = "off" if quality >= 90 else "on"
        image.jpegsave_target(target, Q=quality, subsample_mode=subsample)
    elif form.name == "WebP":
        image.webpsave_target(target, Q=quality, lossless=quality == 100, exact=True)
    else:
        predictor = "float" if image.format == "float" else "horizontal"
        sample = {"uchar": 1, "ushort": 2, "float": 4}[image.format]
        large = image.width * image.height * image.bands * sample > _CLASSIC_TIFF_BYTES
        options = {"tile": True, "tile_width": 256, "tile_height": 256} if streamed else {}
        image.tiffsave_target(
            target,
            compression="deflate",
            predictor=predictor,
            bigtiff=large or streamed,
            **options,
        )


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
