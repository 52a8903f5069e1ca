"""Folded MLPs on the device, laid out as the kernels read them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pcsr.runtime.geometry.grid import Floats
from pcsr.runtime.mlps import MlpWeights

OUTPUTS = 16  # of a last layer, padded: the least that a matrix product on tensor cores takes


@dataclass(frozen=True)
class PackedMlp:
    """One MLP. Its hidden widths are padded with zeros to `a` + `b` channels, P in all: a width of
    74 becomes 64 + 16.
    """

    column: int
    """Where the MLP begins in a row of `pre`."""
    a: int
    b: int
    layers: int
    """The number of layers behind the first."""
    outputs: int
    """The values per pixel, before they are padded."""
    weights: Tensor
    """Every layer's [P, P] (inputs, outputs) one after another, the last one's [P, OUTPUTS], in the
    compute dtype."""
    vectors: Tensor
    """Row weights [P], column weights [P] and the biases of the layers, float32."""

    @property
    def width(self) -> int:
        """P, the padded hidden width."""
        return self.a + self.b

    @property
    def shape(self) -> tuple[int, int, int]:
        """Tells what the kernels are compiled for."""
        return self.layers, self.a, self.b


@dataclass(frozen=True)
class PackedMlps:
    """Holds the MLPs of one network."""

    dtype: torch.dtype
    """The type of the features and of the products: float32, float16 or bfloat16."""
    first_weight: Tensor
    """[D, S]: features [P, D] @ first_weight gives `pre` [P, S]."""
    upsamplers: tuple[PackedMlp, ...]
    """The upsamplers, heaviest first."""
    classifier: PackedMlp | None
    """The classifier; None for M = 1."""
    cell_weight: Floats
    """[S, 2]."""
    bias: Floats
    """[S]."""

    @classmethod
    def of(
        cls, mlps: Mapping[str, MlpWeights], dtype: torch.dtype, device: torch.device | str
    ) -> "PackedMlps":
        """Packs what `load_mlps` gives: classifier (M > 1) and upsampler_0 to upsampler_{M-1}."""
        count = len(mlps) - ("classifier" in mlps)
        ordered = [mlps[f"upsampler_{index}"] for index in range(count)]
        ordered += [mlps["classifier"]] if "classifier" in mlps else []
        packed, parts, column = [], [], 0
        for mlp in ordered:
            packed.append(_pack(mlp, column, dtype, device))
            first_layer = (mlp.feature_weight, mlp.cell_weight, mlp.bias)
            parts.append([_zero_padded(array, packed[-1].width) for array in first_layer])
            column += packed[-1].width
        feature_weight, cell_weight, bias = map(np.concatenate, zip(*parts, strict=True))
        first = torch.from_numpy(np.ascontiguousarray(feature_weight.T)).to(device, dtype)
        classifier = packed[count] if count < len(packed) else None
        return cls(dtype, first, tuple(packed[:count]), classifier, cell_weight, bias)

    def constants(self, cell: Floats) -> Tensor:
        """Computes the part [S] float32 of the first layers that is the same for all pixels of a
        size; `cell` is `Grid.cell`. The result is copied to the device: keep it.
        """
        values = self.bias + self.cell_weight.astype(np.float64) @ cell
        return torch.from_numpy(values.astype(np.float32)).to(self.first_weight.device)


def split_width(width: int) -> tuple[int, int]:
    """Gives two powers of two of 16 or more (the second may be 0) that hold `width` channels; one
    where two would save less than a fifth.
    """
    whole = padded(width)
    first = whole // 2
    if first < OUTPUTS or first + padded(width - first) > 0.8 * whole:
        return whole, 0
    return first, padded(width - first)


def padded(count: int) -> int:
    """Gives the next power of two, at least 16, as the products on tensor cores take it."""
    return max(OUTPUTS, 1 << (count - 1).bit_length())


def _zero_padded(array: Floats, *shape: int) -> Floats:
    """Puts zeros behind the ends of the leading axes, up to this shape."""
    missing = [(0, n - have) for n, have in zip(shape, array.shape, strict=False)]
    missing += [(0, 0)] * (array.ndim - len(missing))
    return np.pad(array, missing)


def _pack(
    mlp: MlpWeights, column: int, dtype: torch.dtype, device: torch.device | str
) -> PackedMlp:
    if mlp.outputs > OUTPUTS:
        raise ValueError(f"the kernels take up to {OUTPUTS} outputs of an MLP, not {mlp.outputs}")
    widths = mlp.widths.tolist()
    a, b = split_width(max(widths[:-1], default=widths[0]))
    width = a + b
    layers = list(mlp.layers())
    wide = [width] * (len(layers) - 1) + [OUTPUTS]
    weights = [
        _zero_padded(weight.T, width, n).ravel()
        for (weight, _), n in zip(layers, wide, strict=False)
    ]
    biases = [_zero_padded(bias, n) for (_, bias), n in zip(layers, wide, strict=False)]
    vectors = [_zero_padded(mlp.row_weight, width), _zero_padded(mlp.column_weight, width), *biases]
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
