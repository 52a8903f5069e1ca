"""Turns real numbers into 8-bit integers: uint8 activations, int8 weights with int32 biases."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .weights.rounding import Round, nearest

Ranges = Mapping[str, tuple[float, float]]
"""Least and largest value of tensors."""
_LEAST = 1e-8
_BIAS_PEAK = 2**30


@dataclass(frozen=True)
class Code:
    """Says how a tensor is stored in uint8: value = scale * (code - zero). 0 is stored exactly."""

    scale: np.float32
    zero: np.uint8

    @classmethod
    def of(cls, least: float, most: float) -> "Code":
        """Makes the code of values from `least` to `most`; others become the nearest of them."""
        least, most = min(least, 0.0), max(most, 0.0)
        scale = max((most - least) / 255, _LEAST)
        return cls(np.float32(scale), np.uint8(np.clip(round(-least / scale), 0, 255)))


@dataclass(frozen=True)
class Integers:
    """A convolution computes on codes: output = input_scale * scale[o] * (sum of weight * (code -
    input_zero) + bias[o]).
    """

    weight: NDArray[np.int8]
    """[outputs, inputs of a group, kh, kw]."""
    scale: NDArray[np.float32]
    """[outputs]."""
    bias: NDArray[np.int32]
    """[outputs]."""
    input_scale: np.float32
    input_zero: np.uint8

    @classmethod
    def of(
        cls,
        weight: NDArray[Any],
        bias: NDArray[Any],
        scales: NDArray[np.float64],
        zeros: NDArray[np.int64],
        name: str,
        rounding: Round = nearest,
    ) -> "Integers":
        """Quantises the convolution of this name, [outputs, inputs of a group, kh, kw], whose
        inputs have codes of these scales and zeros [inputs]. Scales that differ go into the
        weights, zeros into the bias, which is exact without padding.
        """
        reference = scales.max()
        relative = scales / reference
        count = len(scales) // weight.shape[1]
        rows = weight.reshape(count, -1, *weight.shape[1:])
        rows = rows * relative.reshape(count, 1, -1, 1, 1)
        weight = rows.reshape(weight.shape)
        peaks = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        least = np.maximum(np.abs(bias) / reference / _BIAS_PEAK, _LEAST)  # the bias fits int32
        steps = np.maximum(peaks / 127, least)
        whole, shift = rounding(name, weight, steps, relative)
        units = np.rint((bias + shift) / (steps * reference)).astype(np.int64)
        zero = zeros[0]
        if (zeros != zero).any():
            sums = whole.reshape(count, -1, *whole.shape[1:]).astype(np.int64).sum(axis=(3, 4))
            units -= (sums * zeros.reshape(count, 1, -1)).sum(axis=2).ravel()
            zero = np.int64(0)
        return cls(
            whole.astype(np.int8),
            steps.astype(np.float32),
            units.astype(np.int32),
            np.float32(reference),
            np.uint8(zero),
        )
