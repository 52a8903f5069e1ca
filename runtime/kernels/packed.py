"""Axes and folded MLPs on the device, laid out as the kernels read them."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pcsr.runtime.geometry.grid import Axis, Floats, Grid
from pcsr.runtime.mlps import Mlp

OUTPUTS = 16  # of a last layer, padded: the least that a matrix product on tensor cores takes


@dataclass(frozen=True)
class DeviceAxis:
    """One dimension of the output, n entries each (see `Axis`).

    places: [3, n] int32, rows `nearest`, `lower`, `upper`. shares: [2, n] float32, rows `offset`,
    `weight`.
    """

    places: Tensor
    shares: Tensor

    @classmethod
    def of(cls, axis: Axis, device: torch.device | str) -> "DeviceAxis":
        places = np.stack([axis.nearest, axis.lower, axis.upper])
        shares = np.stack([axis.offset, axis.weight])
        return cls(torch.from_numpy(places).to(device), torch.from_numpy(shares).to(device))

    def __len__(self) -> int:
        return self.places.shape[1]


@dataclass(frozen=True)
class DeviceAxes:
    """Rows and columns of the whole output."""

    rows: DeviceAxis
    columns: DeviceAxis

    @classmethod
    def of(cls, grid: Grid, device: torch.device | str) -> "DeviceAxes":
        return cls(DeviceAxis.of(grid.rows, device), DeviceAxis.of(grid.columns, device))


@dataclass(frozen=True)
class PackedMlp:
    """One MLP. Its hidden widths are padded with zeros to `a` + `b` channels, P in all.

    column: where it begins in a row of `pre`. layers: behind the first one. outputs: of the last.
    weights: every layer's [inputs P, outputs P], the last one's [P, OUTPUTS], in the compute dtype.
    vectors: row weights [P], column weights [P], biases of the layers, float32.
    """

    column: int
    a: int
    b: int
    layers: int
    outputs: int
    weights: Tensor
    vectors: Tensor

    @property
    def width(self) -> int:
        """P, the padded hidden width."""
        return self.a + self.b


@dataclass(frozen=True)
class PackedMlps:
    """Classifier (None for M = 1) and upsamplers, heaviest first, of one network.

    dtype: of the features and of the products: float32, float16 or bfloat16. first_weight: [D, S]:
    features [P, D] @ first_weight gives `pre` [P, S].
    """

    dtype: torch.dtype
    first_weight: Tensor
    upsamplers: tuple[PackedMlp, ...]
    classifier: PackedMlp | None
    cell_weight: Floats
    bias: Floats

    @classmethod
    def of(
        cls, mlps: Mapping[str, Mlp], dtype: torch.dtype, device: torch.device | str
    ) -> "PackedMlps":
        """From `read_mlps`: roles classifier (M > 1) and upsampler_0 to upsampler_{M-1}."""
        roles = sorted((role for role in mlps if role != "classifier"), key=_number)
        order = [*roles, "classifier"] if "classifier" in mlps else roles
        widths = [sum(_blocks(mlps[role])) for role in order]
        starts = [0, *itertools.accumulate(widths)]
        packed = [
            _pack(mlps[role], start, dtype, device)
            for role, start in zip(order, starts[:-1], strict=True)
        ]
        joined = {
            name: np.concatenate(
                [_padded(getattr(mlps[r], name), n) for r, n in zip(order, widths, strict=True)]
            )
            for name in ("feature_weight", "cell_weight", "bias")
        }
        first = np.ascontiguousarray(joined["feature_weight"].T)
        return cls(
            dtype,
            torch.from_numpy(first).to(device, dtype),
            tuple(packed[: len(roles)]),
            packed[len(roles)] if len(order) > len(roles) else None,
            joined["cell_weight"],
            joined["bias"],
        )

    def constants(self, cell: Floats) -> Tensor:
        """[S] float32: the part of the first layers that is the same for all pixels of a size.
        cell: `Grid.cell`. Copies to the device: keep it.
        """
        values = self.bias + self.cell_weight.astype(np.float64) @ cell
        return torch.from_numpy(values.astype(np.float32)).to(self.first_weight.device)


def split_width(width: int) -> tuple[int, int]:
    """Two powers of two of 16 or more (the second may be 0) that hold `width` channels; one where
    two would save less than a fifth.
    """
    whole = _power(width)
    first = whole // 2
    if first < OUTPUTS or first + _power(width - first) > 0.8 * whole:
        return whole, 0
    return first, _power(width - first)


def _power(width: int) -> int:
    return max(OUTPUTS, 1 << (width - 1).bit_length())


def _number(role: str) -> int:
    return int(role.rpartition("_")[2])


def _blocks(mlp: Mlp) -> tuple[int, int]:
    widths = mlp.widths.tolist()
    if mlp.outputs > OUTPUTS:
        raise ValueError(f"the kernels take up to {OUTPUTS} outputs of an MLP, not {mlp.outputs}")
    return split_width(max(widths[:-1], default=widths[0]))


def _padded(array: Floats, *shape: int) -> Floats:
    """Zeros behind the ends of the leading axes."""
    missing = [(0, n - have) for n, have in zip(shape, array.shape, strict=False)]
    missing += [(0, 0)] * (array.ndim - len(missing))
    return np.pad(array, missing)


def _pack(mlp: Mlp, column: int, dtype: torch.dtype, device: torch.device | str) -> PackedMlp:
    a, b = _blocks(mlp)
    width = a + b
    layers = list(mlp.layers())
    wide = [width] * (len(layers) - 1) + [OUTPUTS]
    weights = [
        _padded(weight.T, width, n).ravel() for (weight, _), n in zip(layers, wide, strict=False)
    ]
    biases = [_padded(bias, n) for (_, bias), n in zip(layers, wide, strict=False)]
    vectors = [_padded(mlp.row_weight, width), _padded(mlp.column_weight, width), *biases]
    flat = np.concatenate(weights or [np.zeros(OUTPUTS, np.float32)])
    return PackedMlp(
        column,
        a,
        b,
        len(layers),
        mlp.outputs,
        torch.from_numpy(flat).to(device, dtype),
        torch.from_numpy(np.concatenate(vectors)).to(device),
    )


@dataclass(frozen=True)
class Window:
    """A band of output rows and the input rows that `pre` has of it.

    first: output row of the canvas's row 0. top: input row of the first row of `pre`.
    """

    axes: DeviceAxes
    first: int = 0
    top: int = 0
