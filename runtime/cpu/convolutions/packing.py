"""Weights in the order in which the kernels read them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layers import LANES, MOST_BLOCKS, Floats, Layer, Network, Unsupported

Halves = NDArray[np.uint16]


@dataclass(frozen=True)
class Block:
    """16 channels of a tensor; `used` of them, from the first, are not padding."""

    tensor: int
    index: int
    used: int


@dataclass(frozen=True)
class Packed:
    """The weights of a layer, and what each block of 16 outputs reads."""

    blocks: list[Block]
    reads: list[tuple[int, int, int]]
    """First input block, how many, and where the weights begin (in elements)."""
    across: int
    """The columns of the window."""
    weights: Halves
    bias: Floats
    """[blocks of outputs * 16]."""


def to_bf16(values: Floats) -> Halves:
    """Rounds to the nearest bf16, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(values), bits >> 16 | 64, rounded).astype(np.uint16)


def pack(network: Network, layer: Layer) -> Packed:
    """Packs the weights of a layer in bf16.

    Raises:
        Unsupported: it joins more than kernels take.
    """
    blocks, places = _inputs(network, layer)
    if len(blocks) > MOST_BLOCKS:
        raise Unsupported(f"a convolution (operator Conv) of {len(blocks)} blocks of channels")
    weight = layer.weight
    if layer.inputs == (-1,) and network.image_columns > 1:
        weight = weight.transpose(0, 3, 1, 2).reshape(layer.outputs, -1, layer.kernel, 1)
    per_group, per_group_made = weight.shape[1], layer.outputs // layer.groups
    reads, parts, start = [], [], 0
    for first in range(0, layer.outputs, LANES):
        rows = range(first, min(first + LANES, layer.outputs))
        groups = range(rows[0] // per_group_made, rows[-1] // per_group_made + 1)
        lowest = places[groups[0] * per_group] // LANES
        highest = places[(groups[-1] + 1) * per_group - 1] // LANES
        window = np.zeros((LANES, (highest - lowest + 1) * LANES, *weight.shape[2:]), np.float32)
        for row in rows:
            inputs = np.arange(per_group) + row // per_group_made * per_group
            window[row - first, places[inputs] - lowest * LANES] = weight[row]
        reads.append((int(lowest), int(highest - lowest + 1), start))
        parts.append(_ordered(window, [block.used for block in blocks[lowest : highest + 1]]))
        start += parts[-1].size
    across = weight.shape[3]
    return Packed(blocks, reads, across, to_bf16(np.concatenate(parts)), padded(layer.bias))


def padded(values: Floats) -> Floats:
    """Pads values per channel with zeros to whole blocks."""
    return np.pad(values, (0, -len(values) % LANES)).astype(np.float32)


def _inputs(network: Network, layer: Layer) -> tuple[list[Block], NDArray[np.int64]]:
    """Lists the blocks that a layer reads, and the place in these of each of its input channels."""
    blocks: list[Block] = []
    places: list[NDArray[np.int64]] = []
    for tensor in layer.inputs:
        count = network.channels(tensor) * (network.image_columns if tensor < 0 else 1)
        places.append(len(blocks) * LANES + np.arange(count))
        for index, first in enumerate(range(0, count, LANES)):
            blocks.append(Block(tensor, index, min(LANES, count - first)))
    return blocks, np.concatenate(places)


def _ordered(window: Floats, used: list[int]) -> Floats:
    """Reorders [16 outputs, blocks * 16, k, l] to [blocks][k][l][pairs][16][2], flat."""
    parts = []
    for index, count in enumerate(used):
        even = count + count % 2
        block = window[:, index * LANES : index * LANES + even]
        pairs = block.reshape(LANES, even // 2, 2, *window.shape[2:])
        parts.append(pairs.transpose(3, 4, 1, 0, 2).ravel())
    return np.concatenate(parts)
