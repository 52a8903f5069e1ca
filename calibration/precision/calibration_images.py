"""Reads and checks the user's images before anything is computed."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcsr.calibration.images import read_pair
from pcsr.errors import ImageError, UsageError
from pcsr.metrics import Pixels, degrade

_LISTED = 5


@dataclass(frozen=True)
class CalibrationImage:
    """Holds one image, RGB uint8."""

    path: str
    lr: Pixels
    """[h,w,3]."""
    hr: Pixels | None
    """The original [round(h*scale),round(w*scale),3]; None where only `lr` is known."""

    @property
    def digest(self) -> str:
        """The digest is the SHA-256 of the pixels."""
        sizes = (self.lr.shape, None if self.hr is None else self.hr.shape)
        pixels = self.lr if self.hr is None else self.hr
        return hashlib.sha256(repr(sizes).encode() + pixels.tobytes()).hexdigest()

    def centre(self, side: int, scale: float) -> "CalibrationImage":
        """Cuts out the middle, at most `side` input pixels each way; HR is degraded anew."""
        if self.hr is None:
            return CalibrationImage(self.path, _middle(self.lr, side), None)
        hr, lr = degrade(_middle(self.hr, round(side * scale)), scale)
        return CalibrationImage(self.path, lr, hr)


def read_calibration_images(
    paths: Iterable[Path], scale: float, lr_only: bool, least_px: int, max_pixels: int
) -> list[CalibrationImage]:
    """Reads HR images with their bicubic LR images, as pcsr-evaluate makes them, or LR images
    alone.

    least_px: what each side of an LR image needs at least: the reach of the network.

    Raises:
        ImageError: files that cannot be read, or images that are too small; all are named.
    """
    samples: list[CalibrationImage] = []
    unreadable: list[str] = []
    for path in paths:
        try:
            hr, lr = read_pair(path, scale, lr_only, max_pixels)
            samples.append(CalibrationImage(str(path), np.ascontiguousarray(lr), hr))
        except ImageError as error:
            unreadable.append(str(error))
        except UsageError as error:
            unreadable.append(f"{path}: {error}")
    if unreadable:
        raise ImageError(_many("these images cannot be used", unreadable))
    small = [s for s in samples if min(s.lr.shape[:2]) < least_px]
    if small:
        found = [f"{s.path} ({s.lr.shape[1]}x{s.lr.shape[0]})" for s in small]
        what = f"these LR images are smaller than the network's reach of {least_px} px"
        raise ImageError(_many(what, found))
    return samples


def _middle(image: Pixels, side: int) -> Pixels:
    top, left = (max(0, (n - side) // 2) for n in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def _many(what: str, found: Sequence[str]) -> str:
    more = f", and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f"{what}: {'; '.join(found[:_LISTED])}{more}; replace them or leave them out"
