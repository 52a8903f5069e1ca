"""Computes rectangles of an image: what a change of some input pixels reaches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.cpu.graph_pipeline import PlainPipeline
from pcsr.runtime.cpu.output import Rows
from pcsr.runtime.geometry.grid import Floats, hr_size
from pcsr.runtime.geometry.tiling import Tile, Window
from pcsr.runtime.geometry.windows import grown, within
from pcsr.runtime.layout import Layout
from pcsr.runtime.timing import Stopwatch

Size = tuple[int, int]
Read = Callable[[Window], Floats]
"""Some input pixels as [1, 3, n, m] float32 RGB in [0, 1]."""


@dataclass(frozen=True)
class Patch:
    """A rectangle of finished output."""

    window: Window
    rows: Rows
    """[n, m] of the window; a plain network gives `pixels` alone."""
    threshold: float | None = None
    """See `Stats`."""


class Patches(Protocol):
    """Computes rectangles of images of one size, at one scale."""

    @property
    def halo_px(self) -> int:
        """How far the network looks around an input pixel."""

    @property
    def crop_px(self) -> int:
        """The most input pixels that are computed at one time, halos included."""

    def patches(
        self, read: Read, changed: Sequence[Window], dtype: np.dtype[Any], watch: Stopwatch
    ) -> Iterator[Patch]:
        """Computes all output that some input pixels reach. dtype: of the RGB that is finished."""


def reader(frame: NDArray[Any], layout: Layout) -> Read:
    """Gives what reads windows of a frame."""

    def read(window: Window) -> Floats:
        return layout.to_network(frame[window])

    return read


def pieces(window: Window, halo_px: int, crop_px: int) -> Iterator[Window]:
    """Halves a window until the network sees at most `crop_px` pixels of each piece, or as near as
    pieces that are as wide as the halo come to it.
    """
    around = 4 * halo_px
    height, width = (part.stop - part.start for part in window)
    longer = max(height, width)
    if (height + around) * (width + around) <= crop_px or longer <= max(1, around):
        yield window
        return
    axis = 0 if height == longer else 1
    part = window[axis]
    middle = (part.start + part.stop) // 2
    for half in (slice(part.start, middle), slice(middle, part.stop)):
        halved = (half, window[1]) if axis == 0 else (window[0], half)
        yield from pieces(halved, halo_px, crop_px)


class PlainPatches:
    """Rectangles of a plain network's results."""

    def __init__(self, pipeline: PlainPipeline, size: Size, scale: float, halo_px: int) -> None:
        self._pipeline, self._size = pipeline, size
        self._hr_size, self.halo_px = hr_size(size, scale), halo_px

    @property
    def crop_px(self) -> int:
        return self._pipeline.crop_pixels()

    def patches(
        self, read: Read, changed: Sequence[Window], dtype: np.dtype[Any], watch: Stopwatch
    ) -> Iterator[Patch]:
        pipeline, size = self._pipeline, self._size
        for window in changed:
            with watch.stage("prepare"):
                core = grown(window, self.halo_px, size, pipeline.multiple)
                crop = grown(core, self.halo_px, size, pipeline.multiple)
                image, inner = read(crop), within(core, crop)
                made = pipeline.enlarged(core[0]), pipeline.enlarged(core[1])
                pixels = np.empty((*_shape(made), 3), dtype=dtype)
            all_of_it = within(core, core)
            tile = Tile(within(crop, crop), all_of_it, inner)
            pipeline.run_tile(tile, image, pixels, watch)
            none = np.empty(0, np.uint8), np.empty(0, np.float32)
            yield Patch(made, Rows(pixels, *none))


def _shape(window: Window) -> Size:
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start
