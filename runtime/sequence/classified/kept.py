"""What is kept of a frame for the next one."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from pcsr.manifest import classifier_outputs
from pcsr.runtime.cpu.native_pipeline import NativePipeline
from pcsr.runtime.cpu.passes import FeatureBand
from pcsr.runtime.geometry.grid import Floats, Grid, hr_size
from pcsr.runtime.geometry.tiling import Window
from pcsr.runtime.routing.rule import difficulty_logit
from pcsr.runtime.sequence.patches import Size


@dataclass
class Kept:
    """What is kept of a frame."""

    image: Floats
    """[3, h, w]."""
    features: Floats
    """[D, h, w]."""
    logits: Floats
    """[K, H, W]."""
    planes: Floats
    """[3, H, W] RGB, before refinement."""

    @classmethod
    def empty(cls, pipeline: NativePipeline, grid: Grid) -> Self:
        """Makes its memory."""

        def empty(channels: int, size: Size) -> Floats:
            return np.empty((channels, *size), dtype=np.float32)

        small, large = grid.lr_size, grid.hr_size
        outputs = classifier_outputs(pipeline.count)
        features = empty(pipeline.depth, small)
        return cls(empty(3, small), features, empty(outputs, large), empty(3, large))

    @property
    def band(self) -> FeatureBand:
        """All rows."""
        return FeatureBand(self.features, 0, self.image, 0)

    def part(self, lr: Window) -> FeatureBand:
        """Some input pixels."""
        top = lr[0].start
        features, image = self.features[:, *lr], self.image[:, *lr]
        return FeatureBand(np.ascontiguousarray(features), top, np.ascontiguousarray(image), top)

    def difficulty_logit(self, hr: Window) -> Floats:
        """Gives the logits of difficulty [N] of some output pixels."""
        return np.ascontiguousarray(difficulty_logit(by_pixel(self.logits[:, *hr])))


def by_pixel(logits: Floats) -> Floats:
    """Turns [K, n, m] to [N, K], which lies in memory as it did."""
    flat: Floats = np.ascontiguousarray(logits).reshape(len(logits), -1).T
    return flat


def kept_bytes(pipeline: NativePipeline, size: Size, scale: float) -> int:
    """Counts the bytes of what is kept of frames of (height, width)."""
    outputs = classifier_outputs(pipeline.count)
    lr, hr = math.prod(size), math.prod(hr_size(size, scale))
    return 4 * ((pipeline.depth + 3) * lr + (outputs + 3) * hr)
