"""Defines what the dense and the sparse pass read."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pcsr.runtime.geometry.device_grid import DeviceGrid

from .launch import expect, expect_band
from .packed import PackedMlps


@dataclass(frozen=True)
class BandInputs:
    """Holds what a band of n output rows is computed from; h, w are the input's size, W the
    output's width.
    """

    mlps: PackedMlps
    grid: DeviceGrid
    pre: Tensor
    """[P, S] in the compute dtype: the first layers' products with the features, and
    `PackedMlps.constants`. P counts the pixels of the input rows from `top` on."""
    image: Tensor
    """[3, h, w] float32 RGB: the whole image."""
    first: int = 0
    """The output row that is row 0 of the canvas."""
    top: int = 0
    """The input row that is the first of `pre`."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The first arguments of both kernels."""
        rows, columns = self.grid.rows, self.grid.columns
        axes = (rows.places, rows.shares, columns.places, columns.shares)
        return (self.pre, self.image, *axes)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """H, W, w and h * w."""
        _, height, width = self.image.shape
        return len(self.grid.rows), len(self.grid.columns), width, height * width

    def check(self, canvas: Tensor) -> tuple[int, int]:
        """Gives the rows and columns of a canvas [n, W, 3].

        Raises:
            ValueError: a tensor does not fit, or the band has some 2^31 pixels or more.
        """
        stride, width = self.mlps.first_weight.shape[1], len(self.grid.columns)
        expect("pre", self.pre, self.mlps.dtype, (None, stride))
        expect("image", self.image, torch.float32, (3, None, None))
        expect("canvas", canvas, torch.float32, (None, width, 3))
        rows, first = canvas.shape[0], self.first
        expect_band(rows, width)
        if not 0 <= first <= first + rows <= len(self.grid.rows):
            raise ValueError(f"no output rows {first} to {first + rows}")
        return rows, width
