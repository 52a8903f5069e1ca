"""Folded MLPs on the device, laid out as the kernels read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pcsr.runtime.geometry.grid import Floats
from pcsr.runtime.mlps import MlpWeights

OUTPUTS = 16  # of a last layer, padded: the least that a matrix product on tensor cores takes
COLOURS = 3
ONES = 2  # channels that are 1: their weights are the biases, in two parts that round little


@dataclass(frozen=True)
class PackedMlp:
    """One MLP, or several side by side. Its hidden widths are padded with zeros to `a` + `b`
    channels, P in all: 76 of them become 64 + 16. Two channels are 1 in every layer; their weights
    are the biases.
    """

    column: int
    """Where the MLP begins in a row of `pre`."""
    a: int
    b: int
    layers: int
    """The number of layers behind the first; 0: the outputs are the first channels of the first."""
    places: int
    """How many last layers there are. They differ in where their outputs are: at 0, at 16 / places,
    and so on."""
    weights: Tensor
    """Every layer's [P, P] (inputs, outputs) one after another, the last ones' [P, OUTPUTS], in the
    compute dtype."""
    vectors: Tensor
    """Row weights [P] and column weights [P], float32."""
    neighbours: int
    """How many input pixels it is evaluated at, 1 or 4."""
    has_base: bool
    """Whether it is added to the bilinear upsample."""

    @property
    def is_usual(self) -> bool:
        """Tells whether it is as in the paper: what the dense and the sparse pass compute."""
        return self.neighbours == 1 and self.has_base

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
    classes: int
    """The logits of a pixel, 0 for M = 1."""
    first_weight: Tensor
    """[D, S]: features [P, D] @ first_weight + `constants` gives `pre` [P, S]."""
    upsamplers: tuple[PackedMlp, ...]
    """The upsamplers but the lightest, heaviest first; the lightest too where it is apart, because
    it has four neighbours or no base."""
    dense: PackedMlp | None
    """The lightest upsampler (outputs 0 to 2), unless it is apart, and the classifier (from 3 on)
    side by side, each where it has layers behind its first."""
    light: PackedMlp | None
    """The lightest upsampler where it has none, unless it is apart."""
    classifier: PackedMlp | None
    """The classifier where it has none."""
    cell_weight: Floats
    """[S, 2]."""
    bias: Floats
    """[S]."""

    @property
    def deep(self) -> tuple[PackedMlp, ...]:
        """All that have layers behind their first."""
        return (*self.upsamplers, *([self.dense] if self.dense else []))

    @classmethod
    def of(
        cls,
        mlps: Mapping[str, MlpWeights],
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> "PackedMlps":
        """Packs what `load_mlps` gives: classifier (M > 1) and upsampler_0 to upsampler_{M-1}."""
        count = len(mlps) - ("classifier" in mlps)
        *heavier, light = (mlps[f"upsampler_{index}"] for index in range(count))
        if is_apart := not _is_usual(light):
            heavier.append(light)
        classes = mlps["classifier"].outputs if count > 1 else 0
        packing = _Packing(dtype, device)
        upsamplers = tuple(packing.add([(mlp, 0)], 1) for mlp in heavier)
        parts = [] if is_apart else [(light, 0)]
        parts += [(mlps["classifier"], COLOURS)] if count > 1 else []
        deep = [part for part in parts if not _is_linear(part[0])]
        taken = max(at + mlp.outputs for mlp, at in deep) if deep else 0
        dense = packing.add(deep, OUTPUTS // max(4, padded(taken, 1))) if deep else None
        flat = {at: packing.add([(mlp, 0)], 1) for mlp, at in parts if _is_linear(mlp)}
        feature_weight, cell_weight, bias = map(np.concatenate, zip(*packing.first, strict=True))
        first = torch.from_numpy(np.ascontiguousarray(feature_weight.T)).to(device, dtype)
        linear = flat.get(0), flat.get(COLOURS)
        return cls(dtype, classes, first, upsamplers, dense, *linear, cell_weight, bias)

    def constants(self, cell: Floats) -> Tensor:
        """Computes the part [S] of the first layers that is the same for all pixels of a size, in
        the compute dtype; `cell` is `Grid.cell`. The result is copied to the device: keep it.
        """
        values = self.bias + self.cell_weight.astype(np.float64) @ cell
        return torch.from_numpy(values).to(self.dtype).to(self.first_weight.device)


def split_width(width: int) -> tuple[int, int]:
    """Gives two powers of two of 16 or more (the second may be 0) that hold `width` channels; one
    where two would save less than a fifth.
    """
    whole = padded(width)
    first = whole // 2
    if first < OUTPUTS or first + padded(width - first) > 0.8 * whole:
        return whole, 0
    return first, padded(width - first)


def padded(count: int, least: int = OUTPUTS) -> int:
    """Gives the next power of two, at least 16, as the products on tensor cores take it."""
    return max(least, 1 << (count - 1).bit_length())


def _zero_padded(array: Floats, *shape: int) -> Floats:
    """Puts zeros behind the ends of the leading axes, up to this shape."""
    missing = [(0, n - have) for n, have in zip(shape, array.shape, strict=False)]
    missing += [(0, 0)] * (array.ndim - len(missing))
    return np.pad(array, missing)


Parts = Sequence[tuple[MlpWeights, int]]
"""MLPs side by side, and where their outputs begin."""


class _Packing:
    """Lays MLPs out one after another."""

    def __init__(self, dtype: torch.dtype, device: torch.device | str) -> None:
        self._dtype, self._device = dtype, device
        self.first: list[list[Floats]] = []
        """Feature weights, cell weights and biases of the first layers."""

    def add(self, parts: Parts, places: int) -> PackedMlp:
        """Packs MLPs side by side, with their last layer in so many places."""
        if (taken := max(at + mlp.outputs for mlp, at in parts)) > OUTPUTS:
            raise ValueError(f"the kernels take up to {OUTPUTS} outputs of an MLP, not {taken}")
        column = sum(len(bias) for *_, bias in self.first)
        layers = max(len(mlp.widths) for mlp, _ in parts) - 1
        widths = [_hidden_width(mlp) for mlp, _ in parts]
        ends = np.cumsum(widths).tolist()
        starts, ones = [0, *ends[:-1]], ends[-1]
        a, b = split_width(ones + ONES) if layers else (OUTPUTS, 0)
        firsts = [_first(mlp, width) for (mlp, _), width in zip(parts, widths, strict=True)]
        feature, row, column_weight, cell, bias = map(np.concatenate, zip(*firsts, strict=True))
        self.first.append([_zero_padded(array, a + b) for array in (feature, cell, bias)])
        if layers:
            self.first[-1][2][ones : ones + ONES] = 1
        vectors = [_zero_padded(row, a + b), _zero_padded(column_weight, a + b)]
        stack = np.zeros((max(layers - 1, 0), a + b, a + b), np.float32)
        last = np.zeros((places, a + b, OUTPUTS), np.float32)
        for (mlp, output), start, width in zip(parts, starts, widths, strict=True):
            if _is_linear(mlp):
                continue
            self._place(mlp, (start, width, ones, output), stack, last)
        for k in range(ONES):
            stack[:, ones + k, ones + k] = 1
        flat = np.concatenate([stack.ravel(), last.ravel()])
        return PackedMlp(
            column,
            a,
            b,
            layers,
            places,
            torch.from_numpy(flat).to(self._device, self._dtype),
            torch.from_numpy(np.concatenate(vectors)).to(self._device),
            parts[0][0].neighbours,
            parts[0][0].base == "bilinear",
        )

    def _place(
        self, mlp: MlpWeights, where: tuple[int, int, int, int], stack: Floats, last: Floats
    ) -> None:
        """Fills in one MLP. Where it has fewer layers than others, its first ones hand on what the
        activation has made positive.
        """
        start, width, ones, output = where
        own = list(mlp.layers())
        for index in range(len(stack) + 1 - len(own)):
            here = np.arange(start, start + width)
            stack[index, here, here] = 1
        for index, (weight, bias) in enumerate(own[:-1], len(stack) + 1 - len(own)):
            rows, columns = start + weight.shape[1], start + weight.shape[0]
            stack[index, start:rows, start:columns] = weight.T
            stack[index, ones : ones + ONES, start:columns] = self._in_parts(bias)
        weight, bias = own[-1]
        for place, layer in enumerate(last):
            at = place * (OUTPUTS // len(last)) + output
            layer[start : start + weight.shape[1], at : at + mlp.outputs] = weight.T
            layer[ones : ones + ONES, at : at + mlp.outputs] = self._in_parts(bias)

    def _in_parts(self, bias: Floats) -> Floats:
        """Gives [ONES, n]: the bias rounded to the compute dtype, and what that leaves."""
        rounded = torch.from_numpy(bias).to(self._dtype).float().numpy()
        return np.stack([rounded, bias - rounded])


def _is_usual(mlp: MlpWeights) -> bool:
    return mlp.neighbours == 1 and mlp.base == "bilinear"


def _is_linear(mlp: MlpWeights) -> bool:
    return len(mlp.widths) == 1


def _hidden_width(mlp: MlpWeights) -> int:
    widths: list[int] = mlp.widths.tolist()
    return max(widths[:-1], default=widths[0])


def _first(mlp: MlpWeights, width: int) -> tuple[Floats, ...]:
    """Gives the arrays of a first layer for so many channels."""
    vectors = (mlp.row_weight, mlp.column_weight, mlp.cell_weight, mlp.bias)
    return tuple(_zero_padded(array, width) for array in (mlp.feature_weight, *vectors))
