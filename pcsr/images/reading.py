"""Reads image files, through libvips."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyvips

from pcsr.errors import ImageError
from pcsr.text import last_line

from .bmp import read_bmp
from .formats import BLOCKS, GREY, RGB, WHITE, Format, recognised
from .heif_boxes import animation, colour_chunks, refuse_sequence
from .picture import DPI_72, Metadata, Picture, refuse_large, sensible_resolution
from .png_chunks import Chunk, read_chunks
from .tiff_pages import picture_page
from .vips import vips_calls

_FLOAT_RANGE = (-1.0, 2.0)  # room for overshoot around 0..1; data on another scale lie outside
_UNSTATED = (1.0, 1.0)  # the resolution (pixels per mm) of a file that states none, to libvips
_SIGNATURE_BYTES = 32
_WEBP_FRAME = "webpmux -get frame 1 FILE -o frame.webp"  # ffmpeg has no animated WebP
_TAKEN = "it is damaged or incomplete; what could be decoded of it was taken"


def read(path: Path, max_pixels: int, accept_damaged: bool = False) -> Picture:
    """Decodes a PNG, JPEG, TIFF, WebP, GIF, AVIF or BMP file, recognised by its content, and turns
    it upright.

    Samples keep their depth; 1-bit and palette images become 8 bit. Colour spaces other than grey
    and RGB become sRGB without an ICC profile. EXIF in a TIFF is not read (libvips does not).
    `accept_damaged` takes what can be decoded of a damaged file, and says so in `warnings`.

    Examples:
        >>> from pcsr.images import read
        >>> read(Path("photo.png"), max_pixels=10**8).pixels.shape
        (27, 40, 3)

    Raises:
        ImageError: the file is missing, unreadable, no such image, damaged or incomplete, has more
            than `max_pixels` (height x width, checked before decoding), several pages or frames, or
            samples or channels that `Picture` does not take.
    """
    with _refusals(str(path)), _opened(path) as file:
        return _read(
            file,
            lambda: pyvips.Source.new_from_descriptor(file.fileno()),
            max_pixels,
            accept_damaged,
        )


def read_bytes(
    data: bytes, max_pixels: int, name: str = "the image", accept_damaged: bool = False
) -> Picture:
    """Decodes the content of an image file as `read` does; `name` stands in messages.

    Examples:
        >>> from pcsr.images import read_bytes
        >>> read_bytes(Path("photo.png").read_bytes(), max_pixels=10**8).pixels.shape
        (27, 40, 3)

    Raises:
        ImageError: as `read`.
    """
    with _refusals(name):
        return _read(
            io.BytesIO(data),
            lambda: pyvips.Source.new_from_memory(data),
            max_pixels,
            accept_damaged,
        )


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise ImageError(f"cannot read {name}: {error}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"cannot read {name}: {reason}; name an image file") from error
    except pyvips.Error as error:
        if "out of memory" in str(error):
            raise ImageError(f"cannot read {name}: out of memory; use a smaller image") from error
        in_header = "load_source" in str(error).partition("\n")[0]
        hint = "" if in_header else ", or pass --accept-damaged to take what can be decoded"
        reason = f"damaged, incomplete or of a rare kind ({last_line(error)})"
        raise ImageError(f"cannot read {name}: {reason}; copy or save it again{hint}") from error


@contextmanager
def _opened(path: Path) -> Iterator[io.FileIO]:
    if path.exists() and not path.is_file():
        raise ImageError("it is a folder or a device; name an image file")
    # A FIFO that appears here now is not waited for.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield file


def _read(
    file: BinaryIO | io.FileIO,
    source: Callable[[], pyvips.Source],
    max_pixels: int,
    accept_damaged: bool,
) -> Picture:
    form = recognised(file.read(_SIGNATURE_BYTES))
    if form.name == "BMP":
        return read_bmp(file, max_pixels)
    options, chunks = _looked_at(file, form)

    def decoded(fail_on: str, *warnings: str) -> Picture:
        file.seek(0)
        load = getattr(pyvips.Image, str(form.loader))
        image = load(source(), access="sequential", fail_on=fail_on, **options)
        _check_header(image, max_pixels)
        image = _to_grey_or_rgb(image)
        _check_layout(image)
        return Picture(_decode(image), _metadata(image, chunks), warnings)

    with vips_calls():
        try:
            return decoded("error")
        except pyvips.Error:
            if not accept_damaged:
                raise
            return decoded("none", _TAKEN)


def _looked_at(
    file: BinaryIO | io.FileIO, form: Format
) -> tuple[dict[str, object], tuple[Chunk, ...]]:
    """Finds what libvips does not say: options of its loader, and chunks of a PNG to be kept."""
    if form.name == "PNG":
        found = read_chunks(file)
        if found.frames:
            raise ImageError(animation(found.frames))
        return {}, found.kept
    if form.name == "TIFF":
        # "truncated" lets a truncated TIFF through; its large strips need "unlimited".
        return {"unlimited": True, "page": picture_page(file)}, ()
    if form.name == "AVIF":
        refuse_sequence(file)
        return {}, colour_chunks(file)
    return {}, ()


def _check_header(image: pyvips.Image, max_pixels: int) -> None:
    pages, loader = image.get_n_pages(), image.get("vips-loader")
    if pages > 1 and not loader.startswith("tiff"):
        tool = [_WEBP_FRAME] if loader.startswith("webp") else []
        raise ImageError(animation(pages, *tool))
    refuse_large((image.width, image.height), max_pixels)


def _to_grey_or_rgb(image: pyvips.Image) -> pyvips.Image:
    if image.interpretation in (*GREY.values(), *RGB.values(), "rgb"):
        return image
    deep = image.format != "uchar"
    if image.interpretation == "cmyk" and image.get_typeof(BLOCKS["icc"]):
        image = image.icc_transform("srgb", embedded=True, depth=16 if deep else 8)
    image = image.colourspace("rgb16" if deep else "srgb").copy()
    image.remove(BLOCKS["icc"])
    return image


def _check_layout(image: pyvips.Image) -> None:
    channels = (1, 2) if image.interpretation in GREY.values() else (3, 4)
    if image.format not in WHITE or image.bands not in channels:
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


def _metadata(image: pyvips.Image, chunks: tuple[Chunk, ...]) -> Metadata:
    blocks = {key: image.get(name) for key, name in BLOCKS.items() if image.get_typeof(name)}
    stated = (image.xres, image.yres)
    resolution = DPI_72 if stated == _UNSTATED else sensible_resolution(stated)
    return Metadata(**blocks, resolution=resolution, chunks=chunks)
