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
    """Lays the largest verification picture of the bundles side by side, at each size.

    Raises:
        UsageError: no bundle has one.
    """
    known = [bundle for bundle in bundles if bundle.manifest.vectors is not None]
    held = [vector.image for bundle in known for vector in bundle.vectors()]
    if not held:
        raise UsageError("no bundle holds a sample picture; name a photo with --image")
    picture = RGB8.from_network(max(held, key=np.size)).astype(np.uint8)
    return [InputImage("sample", filled(picture, size), is_sample=True) for size in sizes]


def filled(pixels: Pixels, size: Size) -> Pixels:
    """Cuts the upper left part of this size, repeated where the image is smaller."""
    repeats = [-(-side // own) for side, own in zip(size, pixels.shape[:2], strict=True)]
    return np.ascontiguousarray(np.tile(pixels, (*repeats, 1))[: size[0], : size[1]])
