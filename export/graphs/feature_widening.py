"""Features with padded channels: an exact rewrite of a backbone graph that needs no restoring.

Where the last layer of a backbone adds to what its other layers read, as in a residual network, the
features have the padded channels of all of these. What reads features are matrix products, whose
weights take the padding as rows of zeros.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from .channel_padding import GPU_BLOCK, Padding, Places
from .folding import FoldedBackbone
from .layers import Arrays, Layers, rewritten

FEATURES = "features"
RESHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose"})


def widen_features(model: onnx.ModelProto, module: FoldedBackbone) -> onnx.ModelProto:
    """Returns a copy of a backbone's graph whose features are padded with all that they are added
    to, by eights, where layers read that and padding adds at most 40 %; else the graph itself. The
    module that it was exported from, and the MLPs of that, are widened with it.

    The number is the same for all precisions, which share the weights of the MLPs.
    """
    layers = Layers(model)
    tail = _Tail.of(layers)
    padding = Padding(Layers(tail.cut(model)), GPU_BLOCK, FEATURES)
    places = padding.places(FEATURES)
    if not places.changed or padding.renamed(FEATURES) != FEATURES:
        return model
    nodes = [
        new
        for node in layers.nodes
        for new in (tail.widened(node, places) if tail.has(node) else padding.rewritten(node))
    ]
    wide = rewritten(model, nodes, layers.weights | padding.weights | tail.weights)
    wide.graph.output[0].type.tensor_type.shape.dim[1].dim_value = places.count
    module.widen(places.of, places.count)
    return wide


@dataclass
class _Tail:
    """Knows the nodes from the features to the row maps: a change of shape, then a product each."""

    layers: Layers
    tensors: set[str]
    weights: Arrays

    @classmethod
    def of(cls, layers: Layers) -> "_Tail":
        tensors: set[str] = set()
        for node in layers.nodes:
            reads = bool(tensors.intersection(node.input))
            is_first = node.op_type in RESHAPING and node.input[0] == FEATURES
            if is_first or (reads and node.op_type in RESHAPING | {"MatMul"}):
                tensors.update(node.output)
        return cls(layers, tensors, {})

    def has(self, node: onnx.NodeProto) -> bool:
        return not self.tensors.isdisjoint(node.output)

    def cut(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Returns the graph without these nodes, which ends in the features."""
        nodes = (node for node in self.layers.nodes if not self.has(node))
        core = rewritten(model, nodes, self.layers.weights)
        del core.graph.output[1:]
        return core

    def widened(self, node: onnx.NodeProto, places: Places) -> Iterator[onnx.NodeProto]:
        new = copy.deepcopy(node)
        if node.op_type in ("Reshape", "MatMul"):
            old = self.layers.weights[node.input[1]]
            new.input[1] = f"{node.input[1]}_{places.count}"
            if node.op_type == "Reshape":
                array = np.where(old == len(places.of), places.count, old)
            else:
                array = np.zeros((places.count, old.shape[1]), old.dtype)
                array[list(places.of)] = old
            self.weights[new.input[1]] = array
        yield new
