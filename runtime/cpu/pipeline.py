"""The protocols of what runs the graphs of a bundle, and of what runs an image through them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.timing import Stopwatch

from .output import Output

ARENA_GROWTH = 1.5  # what ONNX Runtime takes, in units of what its tensors need

FloatArray = NDArray[np.float32]
Size = tuple[int, int]
ReadRows = Callable[[int, int], FloatArray]
"""Input rows first … stop - 1 as [1, 3, n, w] float32 RGB in [0, 1]."""


class Runner(Protocol):
    """Runs the graphs of one bundle with one backend. Several threads may call it at once.

    One whose results depend on how an image is cut into tiles says `cuts_exactly = False`.
    """

    def run_image(
        self,
        role: str,
        image: FloatArray,
        outputs: Sequence[str],
        cancellation: Cancellation | None = None,
    ) -> list[FloatArray]:
        """Runs `backbone` or `network` with all threads, and computes the named outputs alone.

        image: [1, 3, h, w] float32 RGB in [0, 1].

        Raises:
            CancelledError: before it begins, or in the middle of it where the backend can stop.
        """

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        """Runs `classifier` or `upsampler_j` on some pixels, on the calling thread: [N, K]."""


def cuts_exactly(runner: Runner) -> bool:
    """Tells whether tiles of an image give what the whole image gives, bit for bit."""
    return bool(getattr(runner, "cuts_exactly", True))


class Routed(NamedTuple):
    """Describes how an image was routed."""

    counts: NDArray[np.int64]
    """Pixels per upsampler, heaviest first; none for a plain network."""
    threshold: float | None
    """The difficulty above which pixels are heavy; see `Routing`."""


class Task(NamedTuple):
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
            ImageError: the image is too large for the backend, or NaN comes out of the network.
        """

    def backbone_px(self, size: Size, scale: float) -> int:
        """Counts the input pixels that the backbone computes for a heavy_ratio, repeats and all."""
