"""Defines what is upscaled: the user's photos, reduced originals, or a bundle's own sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import UsageError
from pcsr.extras import needs_extra
from pcsr.runtime.layout import RGB8, as_rgb8
from pcsr.single_file import SingleFile

Pixels = NDArray[np.uint8]
Size = tuple[int, int]

SIZES: tuple[Size, ...] = ((276, 420),)
LARGEST_FILE = 2**27  # pixels


@dataclass(frozen=True, eq=False)
class InputImage:
    """Holds what is upscaled."""

    name: str
    pixels: Pixels
    """[h, w, 3] uint8."""
    original: Pixels | None = None
    """[H, W, 3] uint8, what it was reduced from; None where that is unknown."""
    is_sample: bool = False
    """Whether it is a bundle's sample, side by side: not what the user upscales."""

    @property
    def size(self) -> Size:
        """Gives (height, width)."""
        return self.pixels.shape[0], self.pixels.shape[1]


def photos(files: Sequence[Path], sizes: Sequence[Size]) -> list[InputImage]:
    """Reads files as they are; with sizes, the upper left part of each, repeated where too small.

    Raises:
        ImageError: a file cannot be read.
    """
    from pcsr import images

    found = []
    for file in images.find_images(files):
        pixels = as_rgb8(images.read(file, LARGEST_FILE).pixels)
        cuts = [filled(pixels, size) for size in sizes] or [pixels]
        found += [InputImage(file.name, cut) for cut in cuts]
    return found


def reduced(files: Sequence[Path], scale: float) -> list[InputImage]:
    """Reduces originals, as pcsr-evaluate makes its input.

    Raises:
        ImageError, UsageError: a file cannot be read, or is too small for the scale.
        BackendError: Pillow is missing.
    """
    with needs_extra("pcsr-profile --hr", "evaluate"):
        import PIL  # noqa: F401  # of bicubic_resize
    from pcsr import images
    from pcsr.metrics import degrade

    found = []
    for file in images.find_images(files):
        original, small = degrade(as_rgb8(images.read(file, LARGEST_FILE).pixels), scale)
        found.append(InputImage(file.name, np.ascontiguousarray(small), original))
    return found


def samples(bundles: Sequence[Bundle], sizes: Sequence[Size]) -> list[InputImage]:
    """Lays the largest verification picture of the bundles side by side, at each size; a drawn
    one where only graphs of one file are there, which hold none.

    Raises:
        UsageError: no bundle has one.
    """
    known = [bundle for bundle in bundles if bundle.manifest.vectors is not None]
    held = [vector.image for bundle in known for vector in bundle.vectors()]
    if not held and all(isinstance(bundle, SingleFile) for bundle in bundles):
        held = [_drawn()]
    if not held:
        raise UsageError("no bundle holds a sample picture; name a photo with --image")
    picture = RGB8.from_network(max(held, key=np.size)).astype(np.uint8)
    return [InputImage("sample", filled(picture, size), is_sample=True) for size in sizes]


def _drawn() -> NDArray[np.float32]:
    """Draws a picture [64, 72, 3] in [0, 1]: gradients, an edge, and grain in a third of it."""
    y, x = np.mgrid[:64, :72].astype(np.float32)
    shades = np.stack([x / 72, y / 64, (x + y) / 136], axis=-1)
    grain = np.random.default_rng(0).random((64, 72, 1), dtype=np.float32)
    edge = (x > 1.5 * y)[..., None]
    picture: NDArray[np.float32] = 0.5 * shades + 0.3 * edge + 0.2 * grain * (x < 24)[..., None]
    return picture


def filled(pixels: Pixels, size: Size) -> Pixels:
    """Cuts the upper left part of this size, repeated where the image is smaller."""
    repeats = [-(-side // own) for side, own in zip(size, pixels.shape[:2], strict=True)]
    return np.ascontiguousarray(np.tile(pixels, (*repeats, 1))[: size[0], : size[1]])
