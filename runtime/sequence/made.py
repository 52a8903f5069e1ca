"""What was made of a frame, as it is handed out: while anybody holds it, nothing writes to it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.cpu.workers import Workers
from pcsr.runtime.geometry.tiling import Window
from pcsr.runtime.geometry.windows import pixels_of
from pcsr.runtime.layout import Layout
from pcsr.runtime.process.memory import ReusedMemory
from pcsr.runtime.result import Result

from .patches import Patch

Array = NDArray[Any]
KEPT = 4  # results whose memory is brought up to date once they are let go of
REFERENCES = 2  # to an array that only a `Made` has: its own, and that of the call that counts


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


@dataclass(eq=False)
class _Version:
    made: Made
    outdated: list[Window] = field(default_factory=list)
    """Where it is not as the last one."""

    @property
    def is_held(self) -> bool:
        """Tells whether somebody else has one of the arrays, or a view, which refers to it."""
        made = self.made
        return (
            sys.getrefcount(made.image) > REFERENCES
            or sys.getrefcount(made.assignment) > REFERENCES
            or sys.getrefcount(made.difficulty) > REFERENCES
        )


class Versions:
    """Gives the arrays of the next frame with the contents that those of the last one have.

    Who lets go of each result before the next one gets the same arrays again, and nothing is
    copied. Who holds the last result, or some of them, gets those of an earlier one, once it is let
    go of; what changed since then is copied.
    """

    def __init__(self, workers: Workers, memory: ReusedMemory) -> None:
        self._workers, self._memory = workers, memory
        self._versions: list[_Version] = []  # the last frame's comes last

    def follow(self, before: Made) -> Made:
        """Returns arrays that nobody else has, with the contents of those of the frame before."""
        versions = self._versions
        if not versions or versions[-1].made is not before:
            everything = [_all_of(before)]
            for version in versions:
                version.outdated = everything
        free = [version for version in versions if not version.is_held]
        if free:
            version = free[-1]
            versions.remove(version)
            self._update(version, before)
        else:
            version = _Version(self._copied(before))
            del versions[: len(versions) - KEPT + 1]
        versions.append(version)
        return version.made

    def changed(self, made: Made, windows: Sequence[Window]) -> None:
        """Notes that the arrays given last are those of a result now, and where they changed."""
        *earlier, last = self._versions
        last.made, last.outdated = made, []
        most = made.image.shape[0] * made.image.shape[1]
        for version in earlier:
            version.outdated = [*version.outdated, *windows]
            if sum(map(pixels_of, version.outdated)) > most:
                version.outdated = [_all_of(made)]

    def _update(self, version: _Version, before: Made) -> None:
        for window in version.outdated:
            for old, new in zip(_arrays(version.made), _arrays(before), strict=True):
                self._copy(old[window], new[window])

    def _copied(self, made: Made) -> Made:
        def taken(array: Array | None) -> Array | None:
            return None if array is None else self._memory.take(array.shape, array.dtype)

        image = self._memory.take(made.image.shape, made.image.dtype)
        copy = replace(
            made, image=image, assignment=taken(made.assignment), difficulty=taken(made.difficulty)
        )
        for to, array in zip(_arrays(copy), _arrays(made), strict=True):
            self._copy(to, array)
        return copy

    def _copy(self, to: Array, array: Array) -> None:
        """Copies with all threads."""

        def work(rows: slice) -> None:
            to[rows] = array[rows]

        self._workers.over_rows(array.shape, work)


def _arrays(made: Made) -> list[Array]:
    found = (made.image, made.assignment, made.difficulty)
    return [array for array in found if array is not None]


def _all_of(made: Made) -> Window:
    height, width = made.image.shape[:2]
    return slice(0, height), slice(0, width)


def covered(windows: Sequence[Window]) -> int:
    """Counts the pixels that lie in one of some windows, or in several."""
    rows, columns = (
        np.unique([end for window in windows for end in (window[axis].start, window[axis].stop)])
        for axis in (0, 1)
    )
    lies = np.zeros((len(rows), len(columns)), dtype=np.bool_)
    for window in windows:
        top, bottom = np.searchsorted(rows, [window[0].start, window[0].stop])
        left, right = np.searchsorted(columns, [window[1].start, window[1].stop])
        lies[top:bottom, left:right] = True
    return int(np.diff(rows) @ lies[:-1, :-1] @ np.diff(columns)) if windows else 0


class Patched:
    """The arrays of the frame before, or a copy of them, which patches are put on."""

    def __init__(self, before: Made, layout: Layout, versions: Versions) -> None:
        self._layout, self._versions = layout, versions
        made = versions.follow(before)
        self._image, self._assignment, self._difficulty = (
            made.image,
            made.assignment,
            made.difficulty,
        )
        self._counts = np.array(before.counts, dtype=np.int64)
        self._threshold = before.threshold
        self._windows: list[Window] = []

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
        self._windows.append(patch.window)

    def _counted(self, labels: NDArray[np.uint8]) -> NDArray[np.int64]:
        each = range(len(self._counts))
        return np.array([np.count_nonzero(labels == j) for j in each], dtype=np.int64)

    @property
    def reused_share(self) -> float:
        """Share in [0, 1] of the output pixels that no patch covers."""
        height, width = self._image.shape[:2]
        return 1 - covered(self._windows) / int(height * width)

    def done(self) -> Made:
        """Gives the result."""
        counts = tuple(int(count) for count in self._counts)
        made = Made(self._image, self._assignment, self._difficulty, counts, self._threshold)
        self._versions.changed(made, self._windows)
        return made


def read_only(array: Array) -> Array:
    """Gives a view of an array that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
