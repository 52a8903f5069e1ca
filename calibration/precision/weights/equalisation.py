"""Brings the channels of a tensor closer in range: an exact rewrite before quantisation.

A tensor has one scale, so a channel of small values among large ones keeps few of its bits, and so
does a small part of a join. Convolutions, ReLU and sums commute with a positive factor per channel:
it is divided out where a channel is made and multiplied back in where it is read (cross-layer
equalisation; Nagel et al., ICCV 2019, arXiv 1906.04721).
"""

import copy
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from pcsr.export.graphs.layers import (
    Arrays,
    Layers,
    TensorFamilies,
    dense,
    groups,
    joins_channels,
    rewritten,
)

Peaks = Mapping[str, NDArray[np.float64]]
"""Largest absolute value per channel of tensors that convolutions read."""
_HOMOGENEOUS = ("Relu", "LeakyRelu", "PRelu", "Add")
_OF_RANGES = 1.0  # 1 takes all difference from the ranges, and may give all of it to the weights
_LEAST = 1e-3  # of the family's largest: a channel that is nearly 0 would get all bits


def read_parts(layers: Layers) -> list[str]:
    """Lists the tensors that convolutions read; of joined ones their parts."""
    names = (p for node in layers.convolutions for p in layers.parts(node.input[0]))
    return list(dict.fromkeys(names))


def equalised(model: onnx.ModelProto, peaks: Peaks) -> onnx.ModelProto:
    """Returns a copy whose channels are scaled between input and outputs, which stay as they are up
    to rounding. Weights are copied where layers share them.
    """
    layers = Layers(model)
    factors, weights = _factors(layers, peaks), dict(layers.weights)
    scaled = {
        node.output[0]: _rescale(layers, node, factors, peaks) for node in layers.convolutions
    }
    nodes = [copy.deepcopy(node) for node in layers.nodes]
    for node in nodes:
        new = scaled.get(node.output[0])
        if new:
            weights |= new
            node.input[1:] = list(new)
    return rewritten(model, nodes, weights)


def _rescale(layers: Layers, node: onnx.NodeProto, factors: Peaks, peaks: Peaks) -> Arrays:
    """Returns the new weight and bias of a convolution by name; nothing where they stay."""
    parts, made = layers.parts(node.input[0]), factors.get(node.output[0])
    if made is None and not any(part in factors for part in parts):
        return {}
    weight = layers.weights[node.input[1]].astype(np.float64)
    read = [factors.get(part, np.ones(len(peaks[part]))) for part in parts]
    columns = np.concatenate(read).reshape(groups(node), 1, weight.shape[1])
    rows = weight.reshape(groups(node), -1, *weight.shape[1:])
    weight = (rows * columns[..., None, None]).reshape(weight.shape)
    bias = layers.bias(node).astype(np.float64)
    if made is not None:
        weight, bias = weight / made[:, None, None, None], bias / made
    name = node.output[0]
    new = {f"{name}_equal_weight": weight, f"{name}_equal_bias": bias}
    return {name: array.astype(np.float32) for name, array in new.items()}


def _factors(layers: Layers, peaks: Peaks) -> dict[str, NDArray[np.float64]]:
    """Finds the factors [C] that each tensor is divided by; tensors without them stay."""
    factors: dict[str, NDArray[np.float64]] = {}
    for family in _families(layers):
        read = [name for name in family if name in peaks]
        if read:
            largest = np.max([peaks[name] for name in read], axis=0)
            largest = np.maximum(largest, _LEAST * max(largest.max(), 1e-30))
            used = np.maximum(_use(layers, set(read), peaks), _LEAST)
            factor = largest**_OF_RANGES / used ** (1 - _OF_RANGES)
            factors |= dict.fromkeys(family, factor * (largest / factor).max())
    return factors


def _use(layers: Layers, family: set[str], peaks: Peaks) -> NDArray[np.float64]:
    """Returns how much of a row's largest weight a channel gets at most, over all its readers."""
    used: NDArray[np.float64] = np.zeros(1)
    for node in layers.convolutions:
        parts = layers.parts(node.input[0])
        if family.isdisjoint(parts):
            continue
        weight = np.abs(dense(layers.weights[node.input[1]], groups(node))).max(axis=(2, 3))
        share = (weight / np.maximum(weight.max(axis=1, keepdims=True), 1e-30)).max(axis=0)
        ends = np.cumsum([len(peaks[part]) for part in parts])[:-1]
        for part, columns in zip(parts, np.split(share, ends), strict=True):
            if part in family:
                used = np.maximum(used, columns)
    return used


def _families(layers: Layers) -> Iterator[list[str]]:
    """Yields the tensors that must share their factors, because they are added or mapped
    elementwise; without those that anything else makes or reads.
    """
    family = TensorFamilies()
    for node in layers.nodes:
        if node.op_type == "Conv" and node.input[1] in layers.weights:
            family.unite(node.output)
        elif node.op_type in _HOMOGENEOUS:
            images = [name for name in node.input if name not in layers.weights]
            family.unite([*images, *node.output])
            if node.op_type == "Add" and len(images) < 2:
                family.fix(node.output)
            family.fix(part for name in images if len(p := layers.parts(name)) > 1 for part in p)
        elif joins_channels(node):
            if node.output[0] in layers.outputs:
                family.fix(layers.parts(node.output[0]))
        else:
            family.fix(part for name in node.input for part in layers.parts(name))
            family.fix(node.output)
    family.fix(layers.outputs)
    family.fix(value.name for value in layers.model.graph.input)
    yield from family.free()
