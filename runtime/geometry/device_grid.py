"""Says where output pixels lie on the input, as PyTorch tensors on a device."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .grid import Axis, Grid, Ints


@dataclass(frozen=True)
class DeviceAxis:
    """`grid.Axis` on a device, n entries each, in two tensors as the kernels read them."""

    places: Tensor
    """[3, n] int32: rows `nearest`, `lower` and `upper`."""
    shares: Tensor
    """[2, n] float32: rows `offset` and `weight`."""
    nearest_run: int
    """1 to 4: output pixels from 0 on, so many at a time, have the same nearest input pixel."""
    taps_run: int
    """The same for `lower` and `upper` together."""

    @classmethod
    def of(cls, axis: Axis, device: torch.device | str) -> "DeviceAxis":
        places = np.stack([axis.nearest, axis.lower, axis.upper])
        shares = np.stack([axis.offset, axis.weight])
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
        return cls(
            DeviceAxis.of(grid.rows, device),
            DeviceAxis.of(grid.columns, device),
            torch.from_numpy(grid.cell).to(device),
        )
