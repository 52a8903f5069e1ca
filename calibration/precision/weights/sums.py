"""Writes sums as convolutions, where a 1x1 convolution makes one side: an exact rewrite.

Quantised as they stand, three tensors are rounded to 8 bits where one will do, and all of a family
of sums share their channels' factors (`equalisation.py`). A(x) + y is [A | 1] of the join of x and
y: nothing is stored between, and weights make up for differences in range.
"""

import copy
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper

from pcsr.export.graphs.layers import Layers, attributes, groups, rewritten


def sums_as_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy without the sums of a 1x1 convolution, which nothing else reads, and another
    image. Inputs and outputs stay as they are up to rounding.
    """
    layers = Layers(model)
    found = {total.output[0]: (node, other) for total, node, other in _sums(layers)}
    inside = {node.output[0] for node, _ in found.values()}
    nodes, weights = list[onnx.NodeProto](), dict(layers.weights)
    for node in layers.nodes:
        total = node.output[0]
        if total in found:
            convolution, other = found[total]
            weight = weights[convolution.input[1]]
            one = np.eye(len(weight), dtype=weight.dtype)[..., None, None]
            weights[f"{total}_sum_weight"] = np.concatenate([weight, one], axis=1)
            joined = [convolution.input[0], other]
            nodes.append(helper.make_node("Concat", joined, [f"{total}_joined"], axis=1))
            whole = copy.deepcopy(convolution)
            whole.input[:2] = [f"{total}_joined", f"{total}_sum_weight"]
            whole.output[0] = total
            nodes.append(whole)
        elif total not in inside:
            nodes.append(node)
    return rewritten(model, nodes, weights)


def _sums(layers: Layers) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto, str]]:
    """Yields each such sum, its convolution and the other tensor."""
    images = {name for node in layers.convolutions for name in (node.input[0], node.output[0])}
    for node in layers.nodes:
        if node.op_type != "Add":
            continue
        for name, other in (tuple(node.input), tuple(node.input)[::-1]):
            maker = layers.maker.get(name)
            is_alone = layers.only_reader(name) is node and other in images and other != name
            if maker is not None and is_alone and _is_pointwise(layers, maker):
                yield node, maker, other
                break


def _is_pointwise(layers: Layers, node: onnx.NodeProto) -> bool:
    if node.op_type != "Conv" or node.input[1] not in layers.weights or groups(node) > 1:
        return False
    values = attributes(node)
    plain = not any(values.get("pads", [0])) and set(values.get("strides", [1])) == {1}
    return plain and layers.weights[node.input[1]].shape[2:] == (1, 1)
