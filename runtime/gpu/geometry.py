"""Where output pixels lie on the input, as tensors on the device, and the bands of a frame."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pcsr.errors import UsageError
from pcsr.runtime.geometry.grid import Axis, Grid

SEEN_BESIDE = 3  # input rows of a band beyond its share: those of its neighbours, and rounding


@dataclass(frozen=True)
class DeviceAxis:
    """`grid.Axis` on the device: nearest, lower, upper int32; offset, weight float32."""

    nearest: Tensor
    offset: Tensor
    lower: Tensor
    upper: Tensor
    weight: Tensor

    @classmethod
    def of(cls, axis: Axis, device: torch.device) -> "DeviceAxis":
        arrays = (axis.nearest, axis.offset, axis.lower, axis.upper, axis.weight)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))


@dataclass(frozen=True)
class DeviceGrid:
    """`grid.Grid` on the device. cell: [2] float32."""

    rows: DeviceAxis
    columns: DeviceAxis
    cell: Tensor

    @classmethod
    def of(cls, grid: Grid, device: torch.device) -> "DeviceGrid":
        return cls(
            DeviceAxis.of(grid.rows, device),
            DeviceAxis.of(grid.columns, device),
            torch.from_numpy(grid.cell).to(device),
        )


@dataclass(frozen=True)
class Band:
    """Output rows that are computed together: `seen` with the neighbours that refinement needs,
    `kept` without. lr_rows: the input rows nearest to them.
    """

    seen: slice
    kept: slice
    lr_rows: slice


def make_bands(grid: Grid, most_pixels: int, most_lr_pixels: int | None = None) -> list[Band]:
    """One band where the output has at most `most_pixels` and the input at most `most_lr_pixels`,
    else as few equal ones as that takes.

    Raises:
        UsageError: the input is too wide for bands of so few pixels.
    """
    (lr_height, lr_width), (height, width) = grid.lr_size, grid.hr_size
    if most_lr_pixels is not None and lr_height * lr_width > most_lr_pixels:
        lr_rows = most_lr_pixels // lr_width - SEEN_BESIDE
        if lr_rows < 1:
            raise UsageError(
                f"the image is {lr_width} pixels wide and the engine takes {most_lr_pixels} pixels "
                "at a time; build it for a larger shape"
            )
        most_pixels = min(most_pixels, max(1, lr_rows * height // lr_height) * width)
    count = min(height, math.ceil(height * width / most_pixels))
    return list(_bands(grid, [height * i // count for i in range(count + 1)]))


def _bands(grid: Grid, edges: list[int]) -> Iterator[Band]:
    height = grid.hr_size[0]
    for start, stop in itertools.pairwise(edges):
        first, last = max(0, start - 1), min(height, stop + 1)
        nearest = grid.rows.nearest[first:last]
        yield Band(
            slice(first, last),
            slice(start, stop),
            slice(int(nearest[0]), int(nearest[-1]) + 1),
        )
