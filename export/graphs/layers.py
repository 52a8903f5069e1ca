"""Looks at an ONNX graph as layers, and puts a rewritten graph together."""

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

Arrays = dict[str, NDArray[Any]]


class Layers:
    """Holds who makes and who reads each tensor of a graph, and its weights."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.weights: Arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.outputs = {value.name for value in model.graph.output}
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.readers: Mapping[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.readers[name].append(node)

    @property
    def convolutions(self) -> list[onnx.NodeProto]:
        """The convolutions whose weights are known, in the order of the graph."""
        return [n for n in self.nodes if n.op_type == "Conv" and n.input[1] in self.weights]

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """Returns the node that alone reads a tensor which is no output of the graph; else None."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def activated(self, node: onnx.NodeProto) -> str:
        """Returns the tensor behind the ReLU of a layer, or the layer's own where it has none."""
        reader = self.only_reader(node.output[0])
        is_relu = reader is not None and reader.op_type == "Relu"
        return str(reader.output[0] if reader is not None and is_relu else node.output[0])

    def parts(self, name: str) -> list[str]:
        """Lists what a tensor joins, joins of joins included; any other one is its only part."""
        node = self.maker.get(name)
        if node is None or not joins_channels(node):
            return [name]
        return [part for each in node.input for part in self.parts(each)]

    @cached_property
    def channels(self) -> dict[str, int]:
        """The numbers of channels of the tensors [1, C, h, w] that nodes make, by name."""
        values = shape_inference.infer_shapes(self.model).graph.value_info
        shapes = {value.name: value.type.tensor_type.shape.dim for value in values}
        return {name: dims[1].dim_value for name, dims in shapes.items() if len(dims) == 4}

    def bias(self, node: onnx.NodeProto) -> NDArray[np.float32]:
        """Returns the bias [outputs] of a convolution; zeros where it has none."""
        if len(node.input) > 2 and node.input[2]:
            return self.weights[node.input[2]]
        return np.zeros(len(self.weights[node.input[1]]), np.float32)


class TensorFamilies:
    """Holds sets of tensor names that grow together, because the tensors are added or mapped
    elementwise: what is done to the channels of one is done to all.
    """

    def __init__(self) -> None:
        self._of: dict[str, list[str]] = {}
        self.fixed: set[str] = set()
        """Tensors whose families must stay as they are."""

    def members(self, name: str) -> list[str]:
        """Lists the family of a tensor."""
        return self._of.get(name, [name])

    def unite(self, names: Iterable[str]) -> None:
        """Makes one family of those of some tensors."""
        one = list(dict.fromkeys(n for name in names for n in self.members(name)))
        self._of |= dict.fromkeys(one, one)

    def fix(self, names: Iterable[str]) -> None:
        """Keeps the families of some tensors as they are."""
        self.fixed |= set(names)

    def free(self) -> Iterator[list[str]]:
        """Yields each family once, without those that are fixed."""
        for family in {id(family): family for family in self._of.values()}.values():
            if self.fixed.isdisjoint(family):
                yield family


def rewritten(
    model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], weights: Mapping[str, NDArray[Any]]
) -> onnx.ModelProto:
    """Returns a copy of a model with other `nodes`, and those of `weights` that they read."""
    new = copy.deepcopy(model)
    graph = new.graph
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    kept = (numpy_helper.from_array(array, name) for name, array in weights.items() if name in used)
    graph.initializer.extend(kept)
    return new


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Returns the values of a node's attributes by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def joins_channels(node: onnx.NodeProto) -> bool:
    """Tells whether a node is a Concat of channels."""
    return node.op_type == "Concat" and attributes(node).get("axis") == 1


def groups(node: onnx.NodeProto) -> int:
    """Counts the groups of a convolution; any other node has one."""
    return int(attributes(node).get("group", 1)) if node.op_type == "Conv" else 1


def dense(weight: NDArray[Any], count: int) -> NDArray[Any]:
    """Spreads the weights [outputs, inputs / count, …] of a grouped convolution to those [outputs,
    inputs, …] of a dense one, with zeros between the groups.
    """
    blocks = weight.reshape(count, -1, *weight.shape[1:])
    spread = np.zeros((*blocks.shape[:2], count, *weight.shape[1:]), dtype=weight.dtype)
    spread[np.arange(count), :, np.arange(count)] = blocks
    return spread.reshape(len(weight), -1, *weight.shape[2:])
