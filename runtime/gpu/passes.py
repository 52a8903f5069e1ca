"""What is done for every output pixel, behind the backbone: the seam between the frame, which holds
the memory and the order, and the two ways of computing it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from pcsr.runtime.geometry.grid import Grid

from .geometry import Band

StageTimer = Callable[[str], AbstractContextManager[None]]
"""Adds the time of the body to the stage of this name."""


@dataclass(frozen=True)
class Scene:
    """What a frame is made from. image: [3, h, w] float32 RGB; features: [D, h, w]; grid: where the
    output pixels lie; opened: what the passes made of it.
    """

    image: Tensor
    features: Tensor
    grid: Grid
    opened: Any


@dataclass(frozen=True)
class Pixels:
    """Memory for the output pixels of a band, n rows of W.

    canvas: [n, W, 3] float32 RGB. logits: [K, n * W] float32 (K = 1 for M = 2, 0 for M = 1).
    labels: [n * W] uint8. difficulty: [n * W] float32. counts: [M - 1] int32, the pixels of each
    upsampler but the lightest. invalid: [1] int32, pixels whose logits are not finite.
    """

    canvas: Tensor
    logits: Tensor
    labels: Tensor
    difficulty: Tensor
    counts: Tensor
    invalid: Tensor

    @classmethod
    def empty(cls, rows: int, width: int, upsamplers: int, device: torch.device) -> "Pixels":
        """All of it, not yet filled; the routing of a network with one upsampler is."""
        count = rows * width
        outputs = {1: 0, 2: 1}.get(upsamplers, upsamplers)
        return cls(
            torch.empty(rows, width, 3, device=device),
            torch.empty(outputs, count, device=device),
            torch.zeros(count, dtype=torch.uint8, device=device),
            torch.ones(count, device=device),
            torch.zeros(upsamplers - 1, dtype=torch.int32, device=device),
            torch.zeros(1, dtype=torch.int32, device=device),
        )

    def rows(self, count: int) -> "Pixels":
        """The first rows of this memory."""
        width, outputs = self.canvas.shape[1], len(self.logits)
        part = slice(0, count * width)
        return Pixels(
            self.canvas[:count],
            self.logits.flatten()[: outputs * count * width].view(outputs, count * width),
            self.labels[part],
            self.difficulty[part],
            self.counts,
            self.invalid,
        )


@dataclass(frozen=True)
class Decision:
    """How logits become labels, in the device's memory, so that a recorded frame takes new values.

    penalty: [M] k * ln(cost). cut: [1] difficulty logit above which a pixel is of the heavier half.
    bounds: [M - 1] difficulties, hardest first. above: [1] int64, how many pixels of the image are
    of the heavier half. Which of them count: `routing` (`ratio`: cut, made from above).
    """

    routing: str
    penalty: Tensor
    cut: Tensor
    bounds: Tensor
    above: Tensor


class Passes(Protocol):
    """The steps of a band of output rows, in this order. All only queue work, unless they say so.

    They keep what they need between the steps of one band; a lock keeps others away meanwhile.
    Where one step is several stages, or its stage depends on the way, it takes their times itself.
    """

    name: str
    finishing: str
    """The stage that `finish` is."""
    capturable: bool
    """Whether they never wait for the device."""
    most_lr_pixels: int | None
    """Most input pixels that a band may lie on; None: any."""

    def open(self, grid: Grid) -> Any:  # noqa: ANN401
        """What these passes need of an output, on the device. Once for each size."""

    def compose(self, scene: Scene, band: Band, pixels: Pixels, stage: StageTimer) -> None:
        """The classifier's logits, and the canvas by the lightest upsampler."""

    def decide(self, logits: Tensor, decision: Decision) -> None:
        """Fills in what `adaptive` or `ratio` routing take from all logits [K, N] of an image."""

    def route(self, pixels: Pixels, decision: Decision) -> None:
        """Labels, difficulty and counts."""

    def upsample(self, j: int, scene: Scene, band: Band, pixels: Pixels) -> None:
        """The canvas of the pixels of upsampler j < M - 1."""

    def finish(
        self, scene: Scene, band: Band, pixels: Pixels, refine_below: int, out: Tensor
    ) -> None:
        """Refines (paper section 3.4) and converts the kept rows to out [rows, W, 3]: float32 as
        they are, uint8 and uint16 clipped and rounded (ties to even). refine_below: upsamplers
        below it are heavy; 0 refines nothing.
        """
