"""What one call of an `Upscaler` returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .routing.rule import heavy_count


@dataclass(frozen=True)
class Stats:
    """Figures of one call. Sizes are (height, width); times are wall milliseconds.

    pixels_per_upsampler: heaviest first; empty for a plain network. threshold: the difficulty above
    which pixels are heavy, None where no single threshold decides. stage_ms: in order of execution;
    the names are in docs/benchmarks.md, those of a GPU in docs/gpu.md.
    """

    lr_size: tuple[int, int]
    hr_size: tuple[int, int]
    pixels_per_upsampler: tuple[int, ...]
    threshold: float | None
    stage_ms: Mapping[str, float]
    total_ms: float

    @property
    def heavy_share(self) -> float:
        """Share in [0, 1] of the pixels that went to the heavier half of the upsamplers."""
        return heavy_share(self.pixels_per_upsampler)


def heavy_share(pixels_per_upsampler: Sequence[int]) -> float:
    """Share in [0, 1] of the pixels of the heavier half of the upsamplers; 0 without routing."""
    count = heavy_count(len(pixels_per_upsampler))
    return sum(pixels_per_upsampler[:count]) / max(1, sum(pixels_per_upsampler))


@dataclass(frozen=True)
class Result:
    """An upscaled image and how it was routed. The routing is None for a plain network.

    image: in the dtype and channels of the input, [H, W] or [H, W, channels].
    assignment: [H, W] uint8, the upsampler of each pixel, 0 = heaviest.
    difficulty: [H, W] float32 in [0, 1], the probability of the heavier half.
    measured: the stats, or what waits for the device and returns them. upsamplers: M.

    Of an image on a GPU all three are torch tensors there, and nothing waited for them.
    """

    image: NDArray[Any]
    assignment: NDArray[np.uint8] | None
    difficulty: NDArray[np.float32] | None
    measured: Stats | Callable[[], Stats]
    upsamplers: int = 2

    @cached_property
    def stats(self) -> Stats:
        """Figures of the call. Waits for the device where the image is on one.

        Raises:
            ImageError: the classifier gave NaN, which is known only now.
        """
        return self.measured if isinstance(self.measured, Stats) else self.measured()

    @property
    def heavy(self) -> NDArray[np.bool_] | None:
        """[H, W] bool: pixels of the heavier half of the upsamplers (M = 2: those of the heavy
        one).
        """
        if self.assignment is None:
            return None
        mask: NDArray[np.bool_] = self.assignment < heavy_count(self.upsamplers)
        return mask
