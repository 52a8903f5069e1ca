"""Says where finished rows of an image go: into arrays of the whole image, or on to a writer."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import ImageError
from pcsr.runtime.graph_outputs import INFINITE


class Rows(NamedTuple):
    """Finished rows of an image."""

    pixels: NDArray[Any]
    """[n, W, 3] RGB in the dtype asked for."""
    assignment: NDArray[np.uint8]
    """[n, W], the upsampler of each pixel, 0 = heaviest."""
    difficulty: NDArray[np.float32]
    """[n, W] in [0, 1]."""

    @classmethod
    def empty(
        cls,
        size: tuple[int, int],
        dtype: np.dtype[Any],
        take: Callable[..., NDArray[Any]] = np.empty,
        pixels: NDArray[Any] | None = None,
    ) -> "Rows":
        """Makes rows of `size` (n, W) that are not filled yet, in arrays that `take` gives by
        shape and dtype. pixels: those that it has already.
        """
        pixels = take((*size, 3), dtype) if pixels is None else pixels
        return cls(pixels, take(size, np.uint8), take(size, np.float32))


class Output(Protocol):
    """Takes the rows of one image, from top to bottom."""

    dtype: np.dtype[Any]

    def rows(self, first: int, stop: int) -> AbstractContextManager[Rows]:
        """Lends memory for some rows, which the body fills. Ranges are consecutive."""


class ArrayOutput:
    """Keeps all rows: `whole` has those of the whole image, or of a part of it that begins at row
    `first`. `on_rows` is told how many more are finished.
    """

    def __init__(
        self, whole: Rows, on_rows: Callable[[int], None] | None = None, first: int = 0
    ) -> None:
        self.dtype, self.whole = whole.pixels.dtype, whole
        self._on_rows, self._first = on_rows, first

    def rows(self, first: int, stop: int) -> AbstractContextManager[Rows]:
        whole, part = self.whole, slice(first - self._first, stop - self._first)
        if (part.start, part.stop) != (0, len(whole.pixels)):
            whole = Rows(whole.pixels[part], whole.assignment[part], whole.difficulty[part])
        return nullcontext(whole) if self._on_rows is None else self._told(whole, self._on_rows)

    @staticmethod
    @contextmanager
    def _told(rows: Rows, on_rows: Callable[[int], None]) -> Iterator[Rows]:
        yield rows
        on_rows(len(rows.pixels))


class StreamOutput:
    """Hands rows on when they are finished. Of the size (height, width) only the width matters."""

    def __init__(
        self, size: tuple[int, int], dtype: np.dtype[Any], take: Callable[[NDArray[Any]], None]
    ) -> None:
        self.dtype = dtype
        self._width, self._take = size[1], take

    @contextmanager
    def rows(self, first: int, stop: int) -> Iterator[Rows]:
        rows = Rows.empty((stop - first, self._width), self.dtype)
        yield rows
        if stop > first:
            self._take(rows.pixels)


def refuse_infinite(values: NDArray[np.float32]) -> None:
    """Raises ImageError where any of these values is NaN or infinite."""
    if not np.isfinite(values).all():
        raise ImageError(INFINITE)
