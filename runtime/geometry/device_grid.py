"""Says where output pixels lie on the input, as PyTorch tensors on a device."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .grid import Axis, Grid, Ints, Nearest

SIDES_PLACE, SIDES_SHARE = 3, 2  # the first rows that describe the sides of a local ensemble


@dataclass(frozen=True)
class DeviceAxis:
    """`grid.Axis` on a device, n entries each, in two tensors as the kernels read them."""

    places: Tensor
    """[5, n] int32: rows `nearest`, `lower` and `upper`, then `nearest` at both sides of a local
    ensemble."""
    shares: Tensor
    """[4, n] float32: rows `offset` and `weight`, then `offset` at both sides."""
    nearest_run: int
    """1 to 4: output pixels from 0 on, so many at a time, have the same nearest input pixel."""
    taps_run: int
    """The same for `lower` and `upper` together."""

    @classmethod
    def of(
        cls, axis: Axis, sides: tuple[Nearest, Nearest], device: torch.device | str
    ) -> "DeviceAxis":
        places = np.stack([axis.nearest, axis.lower, axis.upper, *(s.nearest for s in sides)])
        shares = np.stack([axis.offset, axis.weight, *(s.offset for s in sides)])
        return cls(
            torch.from_numpy(places).to(device),
            torch.from_numpy(shares).to(device),
            _run(axis.nearest),
            min(_run(axis.lower), _run(axis.upper)),
        )

    def __len__(self) -> int:
        return self.places.shape[1]


def _run(values: Ints) -> int:
    """Gives the most of 4, 3, 2 and 1 that the values come in."""
    for size in (4, 3, 2):
        if len(values) % size == 0 and (values.reshape(-1, size) == values[::size, None]).all():
            return size
    return 1


@dataclass(frozen=True)
class DeviceGrid:
    """`grid.Grid` on a device: the axes of the whole output."""

    rows: DeviceAxis
    columns: DeviceAxis
    cell: Tensor
    """[2] float32: the size of an output pixel, as `Grid.cell`."""

    @classmethod
    def of(cls, grid: Grid, device: torch.device | str) -> "DeviceGrid":
        rows, columns = grid.sides
        return cls(
            DeviceAxis.of(grid.rows, rows, device),
            DeviceAxis.of(grid.columns, columns, device),
            torch.from_numpy(grid.cell).to(device),
        )

    def locate(
        self, rows: Tensor, columns: Tensor, lr_width: int, top: int, neighbours: int
    ) -> tuple[Tensor, Tensor]:
        """Gives index and offset of output pixels as `Grid.locate`, of a row map that begins with
        the input row `top`. rows, columns: [N] int64, of the output.
        """
        sides, place, share = range(1), 0, 0
        if neighbours > 1:
            sides, place, share = range(2), SIDES_PLACE, SIDES_SHARE
        index, offset = list[Tensor](), list[Tensor]()
        for row, column in itertools.product(sides, sides):
            lr_rows = self.rows.places[place + row, rows] - top
            index.append(lr_rows * lr_width + self.columns.places[place + column, columns])
            distances = (
                self.rows.shares[share + row, rows],
                self.columns.shares[share + column, columns],
            )
            offset.append(torch.stack(distances, 1))
        if neighbours == 1:
            return index[0], offset[0]
        return torch.stack(index, 1), torch.stack(offset, 1)
