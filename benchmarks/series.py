"""Defines what is measured of contenders, on the CPU and on a device."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pcsr.runtime.profiler.measuring.calls import Details
from pcsr.runtime.profiler.measuring.rounds import Series

from .image import Image


@dataclass
class ContenderSeries(Series):
    """Holds what was measured of one contender."""

    details: Details | None = None
    """What its first call told; None where none succeeded."""
    image: Image | None = None
    """The image of its first call, where it is to be compared."""
    is_slow: bool = False
    """Whether it takes part in the first rounds only."""
    skipped: bool = False
    """Whether the error is that there was no time left."""

    @property
    def pixels(self) -> tuple[int, ...]:
        """Gives the output pixels of each upsampler, the heaviest first; empty without routing."""
        return self.details.pixels if self.details else ()

    @property
    def heavy_share(self) -> float | None:
        """Gives the share of pixels that the heaviest upsampler made; None without routing."""
        return self.pixels[0] / sum(self.pixels) if self.pixels else None


AllSeries = Mapping[str, ContenderSeries]
"""By the names of the contenders."""
NOT_TIMED = ContenderSeries()


def k_of_difficulty(difficulty: float | None, heavy: float, light: float) -> float:
    """Gives the k that cuts at a difficulty; 0 where it is not known. heavy, light: the cost table.

    A pixel is heavy where the logit of its difficulty exceeds k * ln(heavy / light).
    """
    if difficulty is None or not 0 < difficulty < 1:
        return 0.0
    return math.log(difficulty / (1 - difficulty)) / math.log(heavy / light)
