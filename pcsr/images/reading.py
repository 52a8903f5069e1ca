"""Reads image files, through libvips."""

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyvips

from pcsr.errors import ImageError
from pcsr.interrupts import interrupts_deferred
from pcsr.text import last_line

from .formats import BLOCKS, FORMATS, GREY, RGB, WHITE
from .picture import DPI_72, Metadata, Picture

_FLOAT_RANGE = (-1.0, 2.0)  # room for overshoot around 0..1; data on another scale lie outside
_UNSTATED = (1.0, 1.0)  # the resolution (pixels per mm) of a file that states none, to libvips


def read(path: Path, max_pixels: int) -> Picture:
    """Decodes a PNG, JPEG, TIFF or WebP file, recognised by its content, and turns it upright.

    Samples keep their depth; 1-bit and palette images become 8 bit. Colour spaces other than grey
    and RGB become sRGB without an ICC profile. EXIF in a TIFF is not read (libvips does not).

    Examples:
        >>> from pcsr.images import read
        >>> read(Path("photo.png"), max_pixels=10**8).pixels.shape
        (27, 40, 3)

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
        reason = f"damaged, incomplete or of a rare kind ({last_line(error)})"
        raise ImageError(f"cannot read {path}: {reason}; copy or save it again") from error


def _load(file: BinaryIO) -> pyvips.Image:
    start = os.pread(file.fileno(), 16, 0)
    for form in FORMATS:
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


def _metadata(image: pyvips.Image) -> Metadata:
    blocks = {key: image.get(name) for key, name in BLOCKS.items() if image.get_typeof(name)}
    stated = (image.xres, image.yres)
    return Metadata(**blocks, resolution=DPI_72 if stated == _UNSTATED else stated)
