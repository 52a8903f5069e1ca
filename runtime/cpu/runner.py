"""The protocol of what runs the graphs of one bundle on arrays in the host's memory."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Runner(Protocol):
    """Runs the graphs of one bundle with one backend. Several threads may call it at once."""

    def run_image(self, role: str, image: FloatArray, outputs: Sequence[str]) -> list[FloatArray]:
        """Runs `backbone` or `network` with all threads.

        Args:
            image: [1, 3, h, w] float32 RGB in [0, 1].
            outputs: names of the outputs to compute; no other is.
        """

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        """Runs `classifier` or `upsampler_j` on some pixels, on the calling thread: [N, K]."""
