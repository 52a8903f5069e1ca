"""What is done when a device's memory does not suffice: what is kept for other shapes goes first,
then images are cut into smaller tiles.
"""

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

from pcsr.errors import ImageError
from pcsr.runtime.torch_backend.capture import free_cached_memory
from pcsr.text import first_line

from .frame import FrameShape
from .recording import FrameCache

LEAST_TILE_PX = 32
HOST_IS_FULL = ("DefaultCPUAllocator", "could not create a primitive")  # in texts of errors
T = TypeVar("T")


class TileSides:
    """Knows the side of the backbone's tiles for each image, and finds smaller ones.

    A smaller side is kept for images that have at least as many pixels, at no smaller scale, as one
    that did not fit; others go on as they are.

    Args:
        tile_px: the side as the caller wants it; None: whole images.
        frames: what is kept on the device.
        can_tile: whether smaller tiles need less memory.
    """

    def __init__(
        self, device: torch.device, tile_px: int | None, frames: FrameCache, can_tile: bool
    ) -> None:
        self._device, self._tile_px, self._frames = device, tile_px, frames
        self._can_tile = can_tile
        self._found: dict[tuple[int, float], int] = {}

    def side(self, size: tuple[int, int], scale: float) -> int | None:
        """Gives the side for images of (height, width); None: whole."""
        pixels, found = size[0] * size[1], self._found
        sides = [side for (px, least), side in found.items() if px <= pixels and least <= scale]
        return min(sides, default=self._tile_px)

    def fitting(self, run: Callable[[], T], shape: FrameShape, keeps: bool = True) -> T:
        """Gives what `run` gives, which is tried again where memory does not suffice.

        Args:
            keeps: whether `run` keeps its frame among the others.

        Raises:
            ImageError: there is no more to give back.
        """
        while True:
            try:
                return run()
            except RuntimeError as error:  # PyTorch has no class of its own for the host's memory
                if not _is_of_memory(error):
                    raise
                reason = first_line(error)
            # The error is gone by here: its traceback holds what `run` had in memory.
            others = self._frames.others(shape if keeps else None)
            self._frames.clear()
            if self._device.type == "cuda":
                free_cached_memory()
            if others:
                self._warn(f"dropped what was kept for other shapes ({others}), trying again")
            else:
                self._halve(shape, reason)

    def _halve(self, shape: FrameShape, reason: str) -> None:
        height, width = shape.lr_size
        side = (self.side(shape.lr_size, shape.scale) or max(height, width)) // 2
        if side < LEAST_TILE_PX or not self._can_tile:
            raise ImageError(
                f"{self._device} has too little memory for an image of {width}x{height} pixels: "
                f"{reason}"
            )
        self._found = {**self._found, (height * width, shape.scale): side}
        self._warn(f"images of {width}x{height} and more go on in tiles of {side} px")

    def _warn(self, done: str) -> None:
        warnings.warn(f"{self._device} is out of memory: {done}", ResourceWarning, stacklevel=3)


def _is_of_memory(error: RuntimeError) -> bool:
    is_full = any(text in str(error) for text in HOST_IS_FULL)
    return is_full or isinstance(error, torch.OutOfMemoryError)
