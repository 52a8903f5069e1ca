"""The protocol of what runs an image through the graphs of a bundle."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.geometry.grid import Floats
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.timing import Stopwatch

from .output import Output

Size = tuple[int, int]
ReadRows = Callable[[int, int], Floats]
"""Input rows first … stop - 1 as [1, 3, n, w] float32 RGB in [0, 1]."""


@dataclass(frozen=True)
class Routed:
    """How an image was routed."""

    counts: NDArray[np.int64]
    """Pixels per upsampler, heaviest first; none for a plain network."""
    threshold: float | None
    """The difficulty above which pixels are heavy; see `Routing`."""


@dataclass(frozen=True)
class Task:
    """One image to upscale: `size` is its (height, width), `read` gives its rows."""

    size: Size
    read: ReadRows
    scale: float
    request: RoutingRequest


class Pipeline(Protocol):
    """Upscales images with the graphs of one bundle. Safe to call from several threads."""

    def run(self, task: Task, output: Output, watch: Stopwatch) -> Routed:
        """Upscales an image and hands its rows to `output`, from top to bottom.

        Raises:
            ImageError: the image is too large for the backend, or NaN comes out of the classifier.
        """

    def backbone_px(self, size: Size, scale: float) -> int:
        """Counts the input pixels that the backbone computes of an image, halos and repeated passes
        included, where a share of heavy pixels is asked for.
        """
