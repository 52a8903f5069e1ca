"""Where finished rows of an image go: into arrays of the whole image, or on to a writer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rows:
    """Finished rows of an image. pixels [n, W, 3] in the dtype asked for; assignment [n, W] uint8;
    difficulty [n, W] float32 in [0, 1].
    """

    pixels: NDArray[Any]
    assignment: NDArray[np.uint8]
    difficulty: NDArray[np.float32]


class Output(Protocol):
    """Takes the rows of one image, from top to bottom."""

    dtype: np.dtype[Any]

    def rows(self, first: int, stop: int) -> Rows:
        """Memory for some rows, to be filled. Ranges are consecutive."""

    def done(self, first: int, stop: int) -> None:
        """These rows, the last that were asked for, are filled."""


class Arrays:
    """Arrays of the whole image of `size` (height, width)."""

    def __init__(self, size: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.whole = Rows(
            np.empty((*size, 3), dtype=dtype),
            np.empty(size, dtype=np.uint8),
            np.empty(size, dtype=np.float32),
        )

    def rows(self, first: int, stop: int) -> Rows:
        whole = self.whole
        part = slice(first, stop)
        return Rows(whole.pixels[part], whole.assignment[part], whole.difficulty[part])

    def done(self, first: int, stop: int) -> None:
        pass


class Stream:
    """Hands rows on as soon as they are finished, and keeps none. Of the size (height, width) only
    the width matters.
    """

    def __init__(
        self, size: tuple[int, int], dtype: np.dtype[Any], take: Callable[[NDArray[Any]], None]
    ) -> None:
        self.dtype = dtype
        self._width = size[1]
        self._take = take
        self._pending: Rows | None = None

    def rows(self, first: int, stop: int) -> Rows:
        size = (stop - first, self._width)
        self._pending = Rows(
            np.empty((*size, 3), dtype=self.dtype),
            np.empty(size, dtype=np.uint8),
            np.empty(size, dtype=np.float32),
        )
        return self._pending

    def done(self, first: int, stop: int) -> None:
        if self._pending is not None:
            self._take(self._pending.pixels)
        self._pending = None
