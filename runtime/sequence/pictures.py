"""The frames of one picture without alpha, one after the other."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.cpu.upscaler import HostUpscaler, size_of
from pcsr.runtime.geometry.tiling import Window
from pcsr.runtime.geometry.windows import grown, pixels_of

from .calls import Call, Clock
from .changes import BLOCK_PX, Blocks, changed_blocks, mixed, window_of
from .covering import covering
from .made import Made
from .opening import open_reuse
from .patches import Size, pieces
from .reuse import Reuse

MOST_SHARE = 0.8  # of a frame that crops may see in sum; beyond it the whole one is computed
OVERHEAD_BLOCKS = 16.0  # what a rectangle costs beside its pixels

Pixels = NDArray[Any]


@dataclass(frozen=True)
class _Memory:
    """The frame before."""

    call: Call
    frame: Pixels
    """What its result was computed from."""
    made: Made
    reuse: Reuse


class PictureSequence:
    """Computes frames [h, w] or [h, w, 1 or 3] with the CPU's side, and of each what changed."""

    def __init__(self, host: HostUpscaler, within: float) -> None:
        self._host, self._within = host, within
        self._memory: _Memory | None = None

    def advance(self, pixels: Pixels, call: Call, clock: Clock) -> tuple[Made, float]:
        """Gives the result of the next frame, and the share of it that is the one before's. After
        an error nothing is known of the frames before.
        """
        memory, self._memory = self._memory, None
        with clock.watch.stage("compare"):
            frame = np.array(pixels, order="C")
        if memory is None or not memory.call.continues(call, memory.frame, frame):
            reuse = open_reuse(self._host, size_of(frame), call)
            made, share = reuse.whole(frame, call, clock), 0.0
            self._memory = _Memory(call, frame, made, reuse)
            return made, share
        with clock.watch.stage("compare"):
            blocks = changed_blocks(memory.frame, frame, self._within)
            if self._within > 0:
                frame = mixed(memory.frame, frame, blocks)
        made, share = memory.made, 1.0
        if blocks.any() or memory.call.request != call.request:
            made, share = self._changed(memory, frame, blocks, call, clock)
        self._memory = _Memory(call, frame, made, memory.reuse)
        return made, share

    def _changed(
        self, memory: _Memory, frame: Pixels, blocks: Blocks, call: Call, clock: Clock
    ) -> tuple[Made, float]:
        with clock.watch.stage("compare"):
            windows = _windows(blocks, size_of(frame), memory.reuse)
        if windows is None:
            return memory.reuse.whole(frame, call, clock), 0.0
        return memory.reuse.changed(frame, windows, memory.made, call, clock)


def _windows(blocks: Blocks, size: Size, reuse: Reuse) -> list[Window] | None:
    """Covers what changed with windows; None where the whole frame is computed as fast."""
    halo_px, most = reuse.halo_px, MOST_SHARE * size[0] * size[1]
    if halo_px is None or blocks.mean() > MOST_SHARE:
        return None
    boxes = covering(blocks, 2 * halo_px / BLOCK_PX, OVERHEAD_BLOCKS)
    windows = [
        piece for box in boxes for piece in pieces(window_of(box, size), halo_px, reuse.crop_px)
    ]
    seen = sum(pixels_of(grown(window, 2 * halo_px, size)) for window in windows)
    return windows if seen <= most else None
