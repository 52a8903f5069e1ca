"""Reads the user's images as pairs of original and input, and compares results with them."""

from dataclasses import dataclass
from pathlib import Path

from pcsr.images import read
from pcsr.metrics import Pixels, degrade, psnr
from pcsr.runtime.layout import Layout, as_rgb8

MOST_PSNR_DB = 100.0
"""Stands for infinity, the PSNR of images that do not differ."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Says how images are read and upscaled."""

    scale: float | None = None
    """None stands for the trained one."""
    refine: bool | None = None
    """Whether light pixels beside heavy ones are smoothed; None: as the bundle says."""
    max_pixels: int = 2**27
    """Height x width that a file may have."""


def finite_psnr_db(image: Pixels, reference: Pixels, border: int) -> float:
    """Measures the PSNR of RGB uint8 images within the border, at most MOST_PSNR_DB."""
    return min(psnr(image, reference, border), MOST_PSNR_DB)


def read_rgb8(path: Path, max_pixels: int) -> tuple[Pixels, tuple[str, ...]]:
    """Reads RGB uint8 [h,w,3], and notes where alpha was left out."""
    pixels = read(path, max_pixels).pixels
    layout = Layout.of(pixels)
    notes = (f"{path}: compared without its alpha channel",) if layout.has_alpha else ()
    return as_rgb8(pixels), notes


def read_pair(
    path: Path, scale: float, lr_only: bool, max_pixels: int
) -> tuple[Pixels | None, Pixels]:
    """Reads (original, input) as RGB uint8: the original [H,W,3] cropped to fit, and its bicubic
    input [h,w,3]. With `lr_only` the file is the input, and there is no original.

    Raises:
        ImageError: the file cannot be read. UsageError: it is smaller than one input pixel.
    """
    pixels, _ = read_rgb8(path, max_pixels)
    return (None, pixels) if lr_only else degrade(pixels, scale)
