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
    per_group = layer.weight.shape[1]
    outputs_per_group = layer.outputs // layer.groups
    reads, parts, start = [], [], 0
    for first in range(0, layer.outputs, LANES):
        rows = range(first, min(first + LANES, layer.outputs))
        groups = range(rows[0] // outputs_per_group, rows[-1] // outputs_per_group + 1)
        read = np.arange(groups[0] * per_group, (groups[-1] + 1) * per_group)
        lowest, highest = places[read[0], 0] // LANES, places[read[-1], -1] // LANES
        window = np.zeros(
            (LANES, (highest - lowest + 1) * LANES, layer.kernel, layer.kernel), np.float32
        )
        for row in rows:
            inputs = np.arange(per_group) + row // outputs_per_group * per_group
            for column in places[inputs].T - lowest * LANES:
                window[row - first, column] = layer.weight[row]
        reads.append((int(lowest), int(highest - lowest + 1), start))
        parts.append(_ordered(window, [block.used for block in blocks[lowest : highest + 1]]))
        start += parts[-1].size
    return Packed(blocks, reads, to_bf16(np.concatenate(parts)), padded(layer.bias))


def padded(values: Floats) -> Floats:
    """Pads values per channel with zeros to whole blocks."""
    return np.pad(values, (0, -len(values) % LANES)).astype(np.float32)


def _inputs(network: Network, layer: Layer) -> tuple[list[Block], NDArray[np.int64]]:
    """Lists the blocks that a layer reads, and for each of its input channels the places in these
    that it is multiplied at: one, or two for those of the image, which is kept as the sum of two.
    """
    blocks: list[Block] = []
    places: list[NDArray[np.int64]] = []
    for tensor in layer.inputs:
        count = network.channels(tensor)
        at = len(blocks) * LANES + np.arange(count)
        places.append(np.stack([at, at + (count if tensor < 0 else 0)], axis=1))
        used = 2 * count if tensor < 0 else count
        for index, first in enumerate(range(0, used, LANES)):
            blocks.append(Block(tensor, index, min(LANES, used - first)))
    return blocks, np.concatenate(places)


def _ordered(window: Floats, used: list[int]) -> Floats:
    """Reorders [16 outputs, blocks * 16, k, k] to [blocks][k][k][pairs][16][2], flat."""
    parts = []
    for index, count in enumerate(used):
        even = count + count % 2
        block = window[:, index * LANES : index * LANES + even]
        pairs = block.reshape(LANES, even // 2, 2, *window.shape[2:])
        parts.append(pairs.transpose(3, 4, 1, 0, 2).ravel())
    return np.concatenate(parts)
