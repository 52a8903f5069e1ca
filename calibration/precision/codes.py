"""Turns real numbers into 8-bit integers: uint8 activations, int8 weights with int32 biases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.export.graphs.layers import dense

from .weights.rounding import Round, Storage, nearest

Ranges = Mapping[str, tuple[float, float]]
"""Least and largest value of tensors."""
_LEAST = 1e-8
_BIAS_PEAK = 2**30
_TOGETHER = 16  # channels whose copies follow each other: kernels read these at a time


@dataclass(frozen=True)
class Code:
    """Says how a tensor is stored in uint8: value = scale * (code - zero). 0 is stored exactly.

    In n copies it has n times the steps: copy i is the code of value + scale * `offsets[i]`, and
    the sum of all is the value in steps of scale / n, rounded once (Hermite's identity).
    """

    scale: np.float32
    zero: np.uint8
    copies: int = 1

    @classmethod
    def of(cls, least: float, most: float, copies: int = 1) -> "Code":
        """Makes the code of values from `least` to `most`; others become the nearest of them."""
        least, most = min(least, 0.0), max(most, 0.0)
        scale = max((most - least) / 255, _LEAST)
        zero = np.uint8(np.clip(round(-least / scale), 0, 255))
        return cls(np.float32(scale), zero, copies)

    @property
    def offsets(self) -> NDArray[np.float64]:
        """What is added to each copy, in steps."""
        return (np.arange(self.copies) + 0.5) / self.copies - 0.5

    def stored(self, channels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns of each stored channel which of the channels it is, and which copy."""
        blocks = [np.arange(channels)[i : i + _TOGETHER] for i in range(0, channels, _TOGETHER)]
        order = np.concatenate([block for block in blocks for _ in range(self.copies)])
        copies = [np.repeat(np.arange(self.copies), len(block)) for block in blocks]
        return order, np.concatenate(copies)


@dataclass(frozen=True)
class InputCodes:
    """Says how the channels that a layer reads are stored, each [inputs]."""

    scales: NDArray[np.float64]
    """Of a step, that of the sum where there are copies."""
    zeros: NDArray[np.int64]
    copies: NDArray[np.int64]
    order: NDArray[np.int64]
    """[stored channels]: which of the inputs each is."""
    shares: NDArray[np.float64]
    """[stored channels], from 0 to below 1: its weight is that of the input and this, rounded down,
    so that the mean of the copies' weights is that of the input."""

    @classmethod
    def of(cls, codes: Sequence[Code], channels: Sequence[int]) -> "InputCodes":
        """Joins tensors of so many channels."""
        firsts = np.cumsum([0, *channels])
        stored = [code.stored(n) for code, n in zip(codes, channels, strict=True)]
        order = np.concatenate([f + one[0] for f, one in zip(firsts, stored, strict=False)])
        copies = np.repeat([code.copies for code in codes], channels)
        shares = [
            np.where(order_ % 2, code.copies - 1 - copy, copy) / code.copies
            for code, (order_, copy) in zip(codes, stored, strict=True)
        ]
        return cls(
            np.repeat([float(code.scale) / code.copies for code in codes], channels),
            np.repeat([int(code.zero) for code in codes], channels),
            copies,
            order,
            np.concatenate(shares),
        )

    def spread(self, weight: NDArray[np.float64]) -> NDArray[np.int8]:
        """Gives each stored channel its own of the weights [outputs, inputs, kh, kw]."""
        return np.floor(weight[:, self.order] + self.shares[:, None, None]).astype(np.int8)


@dataclass(frozen=True)
class Integers:
    """A convolution computes on codes: output = input_scale * scale[o] * (sum of weight * (code -
    input_zero) + bias[o]). Groups are dense, with zeros between them.
    """

    weight: NDArray[np.int8]
    """[stored outputs, stored inputs, kh, kw]."""
    scale: NDArray[np.float32]
    """[stored outputs]."""
    bias: NDArray[np.int32]
    """[stored outputs]."""
    input_scale: np.float32
    input_zero: np.uint8

    @classmethod
    def of(
        cls,
        weight: NDArray[Any],
        bias: NDArray[Any],
        inputs: InputCodes,
        output: Code,
        name: str,
        rounding: Round = nearest,
    ) -> "Integers":
        """Quantises the convolution of this name, [outputs, inputs of a group, kh, kw]. Scales of
        its inputs that differ go into the weights, zeros into the bias, which is exact without
        padding.
        """
        reference = inputs.scales.max()
        relative = inputs.scales / reference
        count = len(relative) // weight.shape[1]
        rows = weight.reshape(count, -1, *weight.shape[1:])
        rows = rows * relative.reshape(count, 1, -1, 1, 1)
        weight = rows.reshape(weight.shape)
        peaks = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        least = np.maximum(np.abs(bias) / reference / _BIAS_PEAK, _LEAST)  # the bias fits int32
        steps = np.maximum(peaks / 127, least)
        storage = Storage(relative, inputs.copies, output.copies)
        whole, shift = rounding(name, weight, steps, storage)
        stored = np.stack([inputs.spread(dense(each, count)) for each in whole])
        values = bias + shift + output.offsets[:, None] * float(output.scale)
        units = np.rint(values / (steps * reference)).astype(np.int64)
        zero = inputs.zeros[0]
        if (inputs.zeros != zero).any():
            sums = stored.astype(np.int64).sum(axis=(3, 4))
            units -= (sums * inputs.zeros[inputs.order]).sum(axis=2)
            zero = np.int64(0)
        order, copy = output.stored(len(weight))
        return cls(
            stored[copy, order],
            steps.astype(np.float32)[order],
            units.astype(np.int32)[copy, order],
            np.float32(reference),
            np.uint8(zero),
        )
