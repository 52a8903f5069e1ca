"""Whether our image is that of the published form."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pcsr.metrics import psnr

# One level is rounding. The design lets 1e-4 of the pixels go to another upsampler, and refinement
# spreads each over at most nine.
LARGEST_SHARE_OFF = 1e-3


@dataclass(frozen=True)
class Fidelity:
    """Says how two uint8 images differ."""

    rival: str
    """Whose image the other one is."""
    psnr_db: float | None
    """None where they are equal."""
    max_levels: int
    """The largest difference."""
    share_off: float
    """Share of the pixels with a channel that differs by more than one level."""

    @property
    def is_faithful(self) -> bool:
        """Says whether the share of differing pixels is within tolerance."""
        return self.share_off <= LARGEST_SHARE_OFF


def compare(image: NDArray[np.uint8], other: NDArray[np.uint8], rival: str) -> Fidelity:
    """Compares images [H, W, 3] of the same size."""
    differences = np.maximum(image, other) - np.minimum(image, other)
    decibels = psnr(image, other)
    return Fidelity(
        rival=rival,
        psnr_db=None if math.isinf(decibels) else decibels,
        max_levels=int(differences.max()),
        share_off=float((differences.max(axis=2) > 1).mean()),
    )
