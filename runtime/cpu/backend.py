"""What runs the graphs of one bundle on arrays in the host's memory."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Backend(Protocol):
    """Runs the graphs of one bundle. Safe to call from several threads at once."""

    def run_image(self, role: str, image: FloatArray, outputs: Sequence[str]) -> list[FloatArray]:
        """These outputs of `backbone` or `network` on an image [1, 3, h, w], with all threads."""

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        """`classifier` or `upsampler_j` on a chunk of pixels, on the calling thread."""
