"""Defines what is done for every output pixel, behind the backbone: the seam between the frame,
which holds the memory and the order, and the two ways of computing it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from pcsr.manifest import classifier_outputs
from pcsr.runtime.geometry.grid import Grid

from .bands import FrameBand

StageTimer = Callable[[str], AbstractContextManager[None]]
"""Adds the time of the body to the stage of this name."""


@dataclass(frozen=True)
class FrameInputs:
    """Holds what the output pixels of a frame are made from."""

    image: Tensor
    """[3, h, w] float32 RGB in [0, 1]."""
    features: Tensor
    """[D, h, w], in the precision of the backbone."""
    grid: Grid
    """Where the output pixels lie on the input."""
    opened: Any
    """What `Passes.open` made of the grid."""


@dataclass(frozen=True)
class Pixels:
    """The memory that the output pixels of a band take: n rows of W."""

    canvas: Tensor
    """[n, W, 3] float32 RGB."""
    logits: Tensor
    """[K, n * W] float32, heaviest first: K = M, but 1 for M = 2 and 0 for M = 1."""
    labels: Tensor
    """[n * W] uint8: the upsampler of each pixel, 0 is the heaviest."""
    difficulty: Tensor
    """[n * W] float32 in [0, 1]."""
    counts: Tensor
    """[M - 1] int32: the pixels of each upsampler but the lightest."""
    invalid: Tensor
    """[1] int32: more than 0 where logits or colours are not finite; the passes only add to it."""

    @classmethod
    def empty(cls, rows: int, width: int, upsamplers: int, device: torch.device) -> "Pixels":
        """Takes the memory, not yet filled, but for the routing of a network with one upsampler."""
        count = rows * width
        outputs = classifier_outputs(upsamplers) if upsamplers > 1 else 0
        return cls(
            torch.empty(rows, width, 3, dtype=torch.float32, device=device),
            torch.empty(outputs, count, dtype=torch.float32, device=device),
            torch.zeros(count, dtype=torch.uint8, device=device),
            torch.ones(count, dtype=torch.float32, device=device),
            torch.zeros(upsamplers - 1, dtype=torch.int32, device=device),
            torch.zeros(1, dtype=torch.int32, device=device),
        )

    def rows(self, count: int) -> "Pixels":
        """Gives the first rows of this memory."""
        width, outputs = self.canvas.shape[1], len(self.logits)
        part = slice(0, count * width)
        return replace(
            self,
            canvas=self.canvas[:count],
            logits=self.logits.flatten()[: outputs * count * width].view(outputs, count * width),
            labels=self.labels[part],
            difficulty=self.difficulty[part],
        )


@dataclass(frozen=True)
class Decision:
    """Describes how logits become labels, in the device's memory: so a recorded frame takes new
    values.
    """

    routing: str
    """`fixed` (penalty for M > 2, else cut), `adaptive` (bounds) or `ratio` (cut, from above)."""
    penalty: Tensor
    """[M] float32: k * ln(cost)."""
    cut: Tensor
    """[1] float32: the difficulty logit above which a pixel belongs to the heavier half."""
    bounds: Tensor
    """[M - 1] float32: thresholds of difficulty, hardest first."""
    above: Tensor
    """[1] int64: how many pixels of the image belong to the heavier half."""

    @classmethod
    def empty(cls, routing: str, upsamplers: int, device: torch.device) -> "Decision":
        """Takes the memory; a frame fills it in."""
        return cls(
            routing,
            torch.zeros(upsamplers, dtype=torch.float32, device=device),
            torch.zeros(1, dtype=torch.float32, device=device),
            torch.zeros(upsamplers - 1, dtype=torch.float32, device=device),
            torch.zeros(1, dtype=torch.int64, device=device),
        )

    @property
    def by(self) -> Literal["penalty", "cut", "bounds"]:
        """Names the field that decides: `penalty`, `cut` or `bounds`."""
        if self.routing == "adaptive":
            return "bounds"
        return "penalty" if self.routing == "fixed" and len(self.penalty) > 2 else "cut"


class Passes(Protocol):
    """Computes a band of output rows in these steps. All only queue work, unless they say so.

    They keep what they need between the steps of one band; a lock keeps others away meanwhile.
    Where one step is several stages, or its stage depends on the way, it takes their times itself.
    """

    name: str
    """What the user calls these passes."""
    finishing: str
    """The stage that `finish` is."""
    capturable: bool
    """Whether they never wait for the device."""
    most_lr_pixels: int | None
    """The most input pixels that a band may lie on; None: any."""

    def open(self, grid: Grid) -> Any:  # noqa: ANN401
        """Makes what these passes need of an output size, on the device; once for each size."""

    def compose(
        self, inputs: FrameInputs, band: FrameBand, pixels: Pixels, stage: StageTimer
    ) -> None:
        """Computes the classifier's logits, and the canvas by the lightest upsampler."""

    def decide(self, logits: Tensor, decision: Decision) -> None:
        """Fills in what `adaptive` or `ratio` routing take from all logits [K, N] of an image."""

    def route(self, pixels: Pixels, decision: Decision) -> None:
        """Fills in labels, difficulty and counts; adds the pixels whose logits are not finite to
        `invalid`.
        """

    def upsample(self, j: int, inputs: FrameInputs, band: FrameBand, pixels: Pixels) -> None:
        """Overwrites the canvas where upsampler j < M - 1 is chosen."""

    def finish(
        self, inputs: FrameInputs, band: FrameBand, pixels: Pixels, refine_below: int, out: Tensor
    ) -> None:
        """Refines (paper section 3.4) and converts the kept rows to out [rows, W, 3]: float32 as
        they are, uint8 and uint16 clipped and rounded (ties to even). refine_below: upsamplers
        below it are heavy; 0 refines nothing. Something is added to `invalid` where a kept value
        of the canvas is not finite.
        """
