"""What was made of a frame, as it is handed out: nobody writes to it any more."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.cpu.workers import Workers
from pcsr.runtime.layout import Layout
from pcsr.runtime.process.memory import ReusedMemory
from pcsr.runtime.result import Result

from .patches import Patch

Array = NDArray[Any]


@dataclass(frozen=True)
class Made:
    """The result of a frame."""

    image: Array
    """[H, W] or [H, W, channels] in the layout of the frame."""
    assignment: NDArray[np.uint8] | None
    difficulty: NDArray[np.float32] | None
    counts: tuple[int, ...]
    threshold: float | None

    @classmethod
    def of(cls, result: Result) -> "Made":
        """Takes over the arrays of a call's result."""
        stats = result.stats
        arrays = (result.image, result.assignment, result.difficulty)
        return cls(*arrays, stats.pixels_per_upsampler, stats.threshold)


class Patched:
    """A copy of what was made of the frame before, which patches are put on."""

    def __init__(
        self, before: Made, layout: Layout, workers: Workers, memory: ReusedMemory
    ) -> None:
        self._layout = layout
        self._image = copied(before.image, workers, memory)
        self._assignment, self._difficulty = (
            None if array is None else copied(array, workers, memory)
            for array in (before.assignment, before.difficulty)
        )
        self._counts = np.array(before.counts, dtype=np.int64)
        self._threshold = before.threshold
        self._recomputed = np.zeros(self._image.shape[:2], dtype=np.bool_)

    def put(self, patch: Patch) -> None:
        """Puts a finished rectangle in its place."""
        image, pixels = self._image.reshape(*self._image.shape[:2], -1), patch.rows.pixels
        image[patch.window] = self._layout.from_network(pixels) if self._layout.is_gray else pixels
        if self._assignment is not None and self._difficulty is not None:
            self._counts += self._counted(patch.rows.assignment)
            self._counts -= self._counted(self._assignment[patch.window])
            self._assignment[patch.window] = patch.rows.assignment
            self._difficulty[patch.window] = patch.rows.difficulty
        self._threshold = patch.threshold
        self._recomputed[patch.window] = True

    def _counted(self, labels: NDArray[np.uint8]) -> NDArray[np.int64]:
        each = range(len(self._counts))
        return np.array([np.count_nonzero(labels == j) for j in each], dtype=np.int64)

    @property
    def reused_share(self) -> float:
        """Share in [0, 1] of the output pixels that no patch covers."""
        return 1 - int(np.count_nonzero(self._recomputed)) / self._recomputed.size

    def done(self) -> Made:
        """Gives the result."""
        counts = tuple(int(count) for count in self._counts)
        return Made(self._image, self._assignment, self._difficulty, counts, self._threshold)


def copied(array: Array, workers: Workers, memory: ReusedMemory) -> Array:
    """Copies an array with all threads."""
    out = memory.take(array.shape, array.dtype)

    def work(rows: slice) -> None:
        out[rows] = array[rows]

    workers.over_rows(array.shape, work)
    return out


def read_only(array: Array) -> Array:
    """Gives a view of an array that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
