"""A picture: pixels with metadata, from a file or for one."""

from dataclasses import dataclass, field, replace

import numpy as np

from pcsr.errors import ImageError

DPI_72 = (72 / 25.4, 72 / 25.4)  # what viewers assume for a file that states no resolution
_LEAST_RESOLUTION = 1e-4


@dataclass(frozen=True)
class Metadata:
    """Holds what a file says about its pixels: raw blocks, and the resolution.

    Examples:
        >>> from pcsr.images import Metadata
        >>> Metadata(resolution=(11.8, 11.8)).icc is None  # 300 dpi, no colour profile
        True
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: tuple[float, float] = DPI_72
    """Pixels per mm (x, y)."""
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    """Kind and data of the PNG chunks that hold text, or say which colours the values mean."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels and what is known of them. Other pixels than those below raise ImageError.

    Examples:
        >>> from pcsr.images import Picture
        >>> picture = Picture(photo)
        >>> picture.with_pixels(photo[:9]).pixels.shape
        (9, 40, 3)
    """

    pixels: np.ndarray
    """[h,w] grey, [h,w,2] grey and alpha, [h,w,3] RGB or [h,w,4] RGBA, of uint8, uint16 or float32
    (0..1); alpha is not premultiplied.
    """
    metadata: Metadata = field(default_factory=Metadata)
    warnings: tuple[str, ...] = ()
    """Lines that say what the file it comes from lacks."""

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        layout = len(shape) == 2 or (len(shape) == 3 and shape[2] in (2, 3, 4))
        if not layout or 0 in shape or dtype not in (np.uint8, np.uint16, np.float32):
            raise ImageError(
                "expected pixels [h,w] or [h,w,2..4], not empty, of uint8, uint16 or float32; "
                f"found {list(shape)} of {dtype}; convert them first"
            )

    @property
    def has_alpha(self) -> bool:
        """Tells whether the last channel is alpha."""
        return self.pixels.shape[2:] in ((2,), (4,))

    def with_pixels(self, pixels: np.ndarray) -> "Picture":
        """Returns the same metadata around other pixels, of any layout that `Picture` takes."""
        return replace(self, pixels=pixels)


def refuse_large(size: tuple[int, int], max_pixels: int) -> None:
    """Raises ImageError for a (width, height) of more pixels than that."""
    width, height = size
    if width * height > max_pixels:
        found = f"{width}x{height} = {width * height}"
        raise ImageError(f"expected at most {max_pixels} pixels, found {found}; raise --max-pixels")


def sensible_resolution(stated: tuple[float, float]) -> tuple[float, float]:
    """Returns a resolution in pixels per mm as a file states it; 72 dpi where that cannot be."""
    return (
        stated if all(_LEAST_RESOLUTION <= n <= 1 / _LEAST_RESOLUTION for n in stated) else DPI_72
    )
