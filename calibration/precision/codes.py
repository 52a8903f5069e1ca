"""Turns real numbers into 8-bit integers: uint8 activations, int8 weights with int32 biases."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """[outputs, inputs, kh, kw]."""
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
    ) -> "Integers":
        """Quantises a convolution whose inputs have codes of these scales and zeros [inputs].
        Scales that differ go into the weights, zeros into the bias, which is exact without padding.
        """
        reference = scales.max()
        weight = weight * (scales / reference)[None, :, None, None]
        rows = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        least = np.maximum(np.abs(bias) / reference / _BIAS_PEAK, _LEAST)  # the bias fits int32
        steps = np.maximum(rows / 127, least)
        whole = np.rint(weight / steps[:, None, None, None]).astype(np.int8)
        units = np.rint(bias / (steps * reference)).astype(np.int64)
        zero = zeros[0]
        if (zeros != zero).any():
            units -= (whole.astype(np.int64).sum(axis=(2, 3)) * zeros).sum(axis=1)
            zero = np.int64(0)
        return cls(
            whole,
            steps.astype(np.float32),
            units.astype(np.int32),
            np.float32(reference),
            np.uint8(zero),
        )
