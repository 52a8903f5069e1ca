"""Image files in and out: PNG, JPEG, TIFF and WebP through libvips.

libvips gets open files, never names: a name may hold any bytes, and loads by name are cached.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips

from pcsr.atomic import atomic_file, refuse_existing
from pcsr.errors import ImageError, OutputError, UsageError

_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}
_WHITE = {"uchar": 255, "ushort": 65535, "float": 1}
_GREY = {"uchar": "b-w", "ushort": "grey16", "float": "b-w"}
_RGB = {"uchar": "srgb", "ushort": "rgb16", "float": "scrgb"}
_BLOCKS = {"icc": "icc-profile-data", "exif": "exif-data", "xmp": "xmp-data", "iptc": "iptc-data"}
_SMALLEST_BLOCK = 4  # bytes; libvips refuses to save a shorter EXIF and crashes on an empty XMP
_FLOAT_RANGE = (-1.0, 2.0)  # room for overshoot around 0..1; data on another scale lie outside
_UNSTATED_RESOLUTION = (1.0, 1.0)  # libvips reports this for a file that states none
_USUAL_RESOLUTION = (72 / 25.4, 72 / 25.4)  # what viewers assume for such a file
_CLASSIC_TIFF_BYTES = 2**32 - 2**24  # 4 GiB, less what deflate may add to noise


@dataclass(frozen=True)
class _Format:
    name: str
    suffixes: tuple[str, ...]
    signature: re.Pattern[bytes]
    samples: tuple[str, ...]
    longest_side: int | None = None
    alpha: bool = True


_FORMATS = (
    _Format("PNG", (".png",), re.compile(rb"\x89PNG\r\n\x1a\n"), ("uchar", "ushort")),
    _Format("JPEG", (".jpg", ".jpeg"), re.compile(rb"\xff\xd8\xff"), ("uchar",), 65_500, False),
    _Format("TIFF", (".tif", ".tiff"), re.compile(rb"II[*+]\0|MM\0[*+]"), tuple(_DTYPES)),
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
    resolution: tuple[float, float] = _USUAL_RESOLUTION


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels [h,w] grey, [h,w,2] grey and alpha, [h,w,3] RGB or [h,w,4] RGB and alpha, with metadata.

    They are uint8, uint16 or float32 (0..1); alpha is not premultiplied. Anything else, and an empty
    array, raises ImageError.
    """

    pixels: np.ndarray
    metadata: Metadata = field(default_factory=Metadata)

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        layout = len(shape) == 2 or (len(shape) == 3 and shape[2] in (2, 3, 4))
        if not layout or 0 in shape or dtype not in _DTYPES.values():
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
    with _as_image_errors(path):
        if path.exists() and not path.is_file():
            raise ImageError("it is a folder or a device; name an image file")
        with path.open("rb") as file:
            image = _load(file)
            _check_header(image, max_pixels)
            image = _to_grey_or_rgb(image)
            _check_layout(image)
            return Picture(_decode(_upright(image)), _metadata(image))


def write(picture: Picture, path: Path, overwrite: bool = False, quality: int = 95) -> None:
    """Encodes `picture` in the format that the suffix names; the file appears whole or not at all.

    JPEG and WebP round to 8 bit and PNG rounds float32 to 16 bit, clipped to 0..1; TIFF keeps every
    dtype. `quality` (1..100) is for JPEG and WebP; WebP at 100 is lossless, and has no grey, only
    RGB. An ICC profile for another number of channels is left out, as is EXIF in TIFF (by libvips).

    Raises:
        UsageError: unknown suffix, or `quality` out of range.
        ImageError: the format cannot hold alpha, or an image of this size.
        OutputError: `path` exists and `overwrite` is off, or it cannot be written (disk full, ...).
    """
    form = _format_of(path)
    if not 1 <= quality <= 100:
        raise UsageError(f"expected a quality from 1 to 100, found {quality}")
    _check_fits(path, form, picture.pixels.shape)
    image = _encodable(picture, form)
    with atomic_file(path, overwrite) as temporary, temporary.open("w+b") as file:
        try:
            _save(image, form, file, quality)
        except pyvips.Error as error:
            reason = _last_line(error)
            raise OutputError(f"cannot write {path}: {reason}; is the disk full?") from error


def check_output(path: Path, overwrite: bool, shape: tuple[int, ...] | None = None) -> None:
    """Raises, before the computation starts, what `write` would raise after it.

    `shape` is that of the coming pixels, [H,W] or [H,W,C]; None while it is not known.
    """
    form = _format_of(path)
    if shape is not None:
        _check_fits(path, form, shape)
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: no folder {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: folder not writable; name another one")
    refuse_existing(path, overwrite)


def find_images(inputs: Sequence[Path], recursive: bool = False) -> dict[Path, Path]:
    """Maps each image to its path relative to the given folder (a given file: to its name).

    Files are taken as they are. Folders give their files of known suffix, sorted, hidden ones left
    out; sub-folders (no links) only with `recursive`.

    Raises:
        UsageError: an input is missing, or a folder is unreadable or has no image.
    """
    found: dict[Path, Path] = {}
    for given in inputs:
        if given.is_dir():
            found |= {path: path.relative_to(given) for path in _listed(given, recursive)}
        elif given.exists():
            found[given] = Path(given.name)
        else:
            raise UsageError(f"no file or folder {given}; check the path")
    return found


def _listed(folder: Path, recursive: bool) -> list[Path]:
    try:
        paths = list(_images_below(folder, recursive))
    except OSError as error:
        raise UsageError(f"cannot list {error.filename}: {error.strerror}") from error
    if not paths:
        hint = "" if recursive else ", or pass --recursive to look into its sub-folders"
        raise UsageError(f"no {' '.join(SUFFIXES)} file in {folder}; name another folder{hint}")
    return paths


def _images_below(folder: Path, recursive: bool) -> Iterator[Path]:
    for entry in sorted(folder.glob("[!.]*")):
        if not entry.is_dir():
            if entry.suffix.lower() in SUFFIXES:
                yield entry
        elif recursive and not entry.is_symlink():
            yield from _images_below(entry, recursive)


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
            source = pyvips.Source.new_from_descriptor(file.fileno())
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
    if image.interpretation in (*_GREY.values(), *_RGB.values(), "rgb", "multiband"):
        return image
    deep = image.format != "uchar"
    if image.interpretation == "cmyk" and image.get_typeof(_BLOCKS["icc"]):
        image = image.icc_transform("srgb", embedded=True, depth=16 if deep else 8)
    image = image.colourspace("rgb16" if deep else "srgb").copy()
    image.remove(_BLOCKS["icc"])
    return image


def _check_layout(image: pyvips.Image) -> None:
    channels = (1, 2) if image.interpretation in _GREY.values() else (3, 4)
    if image.format not in _DTYPES or image.bands not in channels:
        raise ImageError(
            "expected grey or RGB, alpha or not, of 8 or 16 bit unsigned or 32 bit float; found "
            f"{image.bands} {image.interpretation} channels of {image.format}; convert it first"
        )


def _upright(image: pyvips.Image) -> pyvips.Image:
    if image.get_typeof("orientation") and image.get("orientation") > 1:
        return image.copy_memory().autorot()
    return image


def _decode(image: pyvips.Image) -> np.ndarray:
    pixels = np.frombuffer(image.write_to_memory(), _DTYPES[image.format])
    if image.format == "float":
        low, high = pixels.min(), pixels.max()
        if not (low >= _FLOAT_RANGE[0] and high <= _FLOAT_RANGE[1]):
            raise ImageError(f"expected samples in 0..1, found {low:g}..{high:g}; scale them first")
    shape = (image.height, image.width, image.bands)
    return pixels.reshape(shape[:2] if image.bands == 1 else shape)


def _metadata(image: pyvips.Image) -> Metadata:
    blocks = {key: image.get(name) for key, name in _BLOCKS.items() if image.get_typeof(name)}
    stated = (image.xres, image.yres)
    unstated = stated == _UNSTATED_RESOLUTION
    return Metadata(**blocks, resolution=_USUAL_RESOLUTION if unstated else stated)


def _encodable(picture: Picture, form: _Format) -> pyvips.Image:
    pixels = np.ascontiguousarray(picture.pixels)
    height, width, channels = (*pixels.shape, 1)[:3]
    sample = next(name for name, dtype in _DTYPES.items() if dtype == pixels.dtype)
    image = pyvips.Image.new_from_memory(pixels, width, height, channels, sample)
    if sample not in form.samples:
        deepest = form.samples[-1]
        image = image.linear(_WHITE[deepest] / _WHITE[sample], 0).rint().cast(deepest)
    xres, yres = picture.metadata.resolution
    space = (_GREY if channels < 3 else _RGB)[image.format]
    image = image.copy(interpretation=space, xres=xres, yres=yres)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    for name, block in _kept_blocks(picture.metadata, channels):
        image.set_type(pyvips.GValue.blob_type, name, block)
    return image


def _kept_blocks(metadata: Metadata, channels: int) -> Iterator[tuple[str, bytes]]:
    profile_space = b"GRAY" if channels < 3 else b"RGB "
    for key, name in _BLOCKS.items():
        block = getattr(metadata, key) or b""
        foreign = key == "icc" and block[16:20] != profile_space
        if len(block) >= _SMALLEST_BLOCK and not foreign:
            yield name, block


def _save(image: pyvips.Image, form: _Format, file: BinaryIO, quality: int) -> None:
    save = getattr(image, f"{form.name.lower()}save_target")
    save(pyvips.Target.new_to_descriptor(file.fileno()), **_encoder_options(image, form, quality))


def _encoder_options(image: pyvips.Image, form: _Format, quality: int) -> dict[str, Any]:
    if form.name == "PNG":
        return {"compression": 3, "filter": "up"}
    if form.name == "JPEG":
        subsample = "off" if quality >= 90 else "on"
        return {"Q": quality, "subsample_mode": subsample, "optimize_coding": True}
    if form.name == "WebP":
        return {"Q": quality, "lossless": quality == 100, "exact": True}
    predictor = "float" if image.format == "float" else "horizontal"
    sample_bytes = np.dtype(_DTYPES[image.format]).itemsize
    large = image.width * image.height * image.bands * sample_bytes > _CLASSIC_TIFF_BYTES
    return {"compression": "deflate", "predictor": predictor, "bigtiff": large, "resunit": "inch"}


@contextmanager
def _as_image_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise ImageError(f"cannot read {path}: {error}") from error
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}; name an image file") from error
    except pyvips.Error as error:
        reason = f"damaged, incomplete or of a rare kind ({_last_line(error)})"
        raise ImageError(f"cannot read {path}: {reason}; copy or save it again") from error


def _last_line(error: pyvips.Error) -> str:
    return str(error).strip().splitlines()[-1].strip()
