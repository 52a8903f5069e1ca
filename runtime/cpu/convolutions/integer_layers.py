"""The layers of a network in 8-bit integers, and their weights as the kernels read them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layers import LANES, MOST_BLOCKS, Floats, Layer, Network, Unsupported
from .packing import padded

DIGITS = 2  # whole numbers that a float32 weight of codes is the sum of
_PEAK = 127.0


@dataclass
class IntegerLayer(Layer):
    """A convolution of codes; or the first one, of the image in float32; or the last one, whose
    weights are float32 and whose results are the features. `weight` is [outputs, inputs, kernel,
    kernel] in any case.
    """

    scale: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    """[outputs], from sums to results in steps of their code."""
    whole_bias: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """[outputs], what the zeros of the inputs add up to taken off."""
    step: float = 1.0
    """Of the codes that the first layer makes."""
    zero: int = 0
    """The code of 0 in the results."""


@dataclass(frozen=True)
class IntegerNetwork(Network):
    """Reads an image in float32, has codes between its layers, and makes features in float32."""

    layers: Sequence[IntegerLayer]
    value_bytes = 1

    @property
    def image_columns(self) -> int:
        """How many columns of the image a pixel of its tensor holds."""
        return 1

    @property
    def paddings(self) -> list[int]:
        """What stands for pixels outside: of the image, and of the results of each layer."""
        return [0, *(layer.zero for layer in self.layers)]


@dataclass(frozen=True)
class PackedIntegers:
    """The weights of a layer, and what each block of 16 outputs reads."""

    blocks: list[tuple[int, int, int]]
    """Tensor, index, used channels of each block of inputs."""
    reads: list[tuple[int, int, int]]
    """First input block, how many, and where the weights begin (in elements)."""
    weights: NDArray[Any]
    """int8; float32 of the first layer."""
    scale: Floats
    whole_bias: NDArray[np.int32]
    bias: Floats


def pack_image_layer(layer: IntegerLayer) -> PackedIntegers:
    """Packs the first layer: [blocks of outputs][kernel][kernel][3][16]."""
    rows = -(-layer.outputs // LANES) * LANES
    weight = np.zeros((rows, *layer.weight.shape[1:]), np.float32)
    weight[: layer.outputs] = layer.weight
    blocks = weight.reshape(-1, LANES, *weight.shape[1:]).transpose(0, 3, 4, 2, 1)
    reads = [(0, 1, index * blocks[0].size) for index in range(len(blocks))]
    nothing = np.zeros(rows, np.int32)
    return PackedIntegers(
        [(-1, 0, 3)], reads, blocks.ravel(), padded(layer.scale), nothing, padded(layer.bias)
    )


def pack_integers(network: IntegerNetwork, layer: IntegerLayer) -> PackedIntegers:
    """Packs a convolution of codes. What is zero between groups is left out.

    Raises:
        Unsupported: it joins more than kernels take.
    """
    counts = [network.channels(tensor) for tensor in layer.inputs]
    blocks = [
        (tensor, index, min(LANES, count - first))
        for tensor, count in zip(layer.inputs, counts, strict=True)
        for index, first in enumerate(range(0, count, LANES))
    ]
    weight, outputs = layer.weight, len(layer.weight)
    if max(len(blocks), -(-outputs // LANES)) > MOST_BLOCKS:
        raise Unsupported(f"a convolution (operator QLinearConv) of {len(blocks)} blocks")
    starts = np.cumsum([0, *(block[2] for block in blocks)])
    pieces = [weight[:, a:b] for a, b in itertools.pairwise(starts)]
    digits = -(-outputs // LANES) // -(-layer.outputs // LANES)
    together = LANES * digits  # a kernel computes all of them at once
    reads, parts, at = [], [], 0
    for first in range(0, outputs, LANES):
        whole = first // together * together
        used = [i for i, each in enumerate(pieces) if each[whole : whole + together].any()] or [0]
        read = pieces[used[0] : used[-1] + 1]
        parts.append(np.concatenate([_ordered(each[first : first + LANES]) for each in read]))
        reads.append((used[0], len(read), at))
        at += parts[-1].size
    whole_bias = np.pad(layer.whole_bias, (0, -outputs % LANES))
    return PackedIntegers(
        blocks, reads, np.concatenate(parts), padded(layer.scale), whole_bias, padded(layer.bias)
    )


def _ordered(weight: NDArray[Any]) -> NDArray[Any]:
    """Reorders [outputs, inputs, k, k] of a block of inputs to [k][k][fours][16][4], flat."""
    outputs, inputs = weight.shape[:2]
    block = np.pad(weight, ((0, LANES - outputs), (0, -inputs % 4), (0, 0), (0, 0)))
    fours = block.reshape(LANES, -1, 4, *weight.shape[2:])
    return fours.transpose(3, 4, 1, 0, 2).ravel()


def in_digits(layer: IntegerLayer) -> IntegerLayer:
    """Writes float32 weights of codes as sums of int8 ones, to 1.5e-5 of the largest of a row: of
    each 16 outputs first the coarse part, then the fine one.
    """
    weight = layer.weight.astype(np.float64)
    blocks = -(-layer.outputs // LANES)
    rest = np.zeros((blocks * LANES, *weight.shape[1:]))
    rest[: layer.outputs] = weight
    step = np.maximum(np.abs(rest).reshape(len(rest), -1).max(axis=1) / _PEAK, 1e-30)
    digits, scales = [], []
    for _ in range(DIGITS):
        whole = np.clip(np.rint(rest / step[:, None, None, None]), -_PEAK, _PEAK)
        rest = rest - whole * step[:, None, None, None]
        digits.append(whole.reshape(blocks, LANES, *weight.shape[1:]))
        scales.append(step.reshape(blocks, LANES))
        step = step / (2 * _PEAK)
    return IntegerLayer(
        layer.inputs,
        np.stack(digits, axis=1).reshape(-1, *weight.shape[1:]).astype(np.int8),
        layer.bias,
        activation=layer.activation,
        scale=np.stack(scales, axis=1).ravel().astype(np.float32),
        whole_bias=np.zeros(2 * blocks * LANES, np.int32),
    )
