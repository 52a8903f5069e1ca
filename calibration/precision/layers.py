"""The image graph of a bundle, seen as layers to be quantised."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

Arrays = dict[str, NDArray[Any]]


class Layers:
    """An ONNX graph with who makes and who reads each tensor. The model is not changed."""

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
        """In the order of the graph; their weights are known."""
        return [n for n in self.nodes if n.op_type == "Conv" and n.input[1] in self.weights]

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that alone reads a tensor, which is no output of the graph; else None."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def activated(self, node: onnx.NodeProto) -> str:
        """The tensor behind the ReLU of a layer, or its own where it has none."""
        reader = self.only_reader(node.output[0])
        is_relu = reader is not None and reader.op_type == "Relu"
        return str(reader.output[0] if reader is not None and is_relu else node.output[0])

    def parts(self, name: str) -> list[str]:
        """What a tensor of joined channels is made of, joins of joins included; else itself."""
        node = self.maker.get(name)
        if node is None or not joins_channels(node):
            return [name]
        return [part for each in node.input for part in self.parts(each)]

    def channels(self, name: str) -> int:
        """Of a tensor [1, C, h, w] that a node makes."""
        return self._channels[name]

    @cached_property
    def _channels(self) -> dict[str, int]:
        values = shape_inference.infer_shapes(self.model).graph.value_info
        shapes = {value.name: value.type.tensor_type.shape.dim for value in values}
        return {name: dims[1].dim_value for name, dims in shapes.items() if len(dims) == 4}

    def bias(self, node: onnx.NodeProto) -> NDArray[np.float32]:
        """Of a convolution [outputs]; zeros where it has none."""
        if len(node.input) > 2 and node.input[2]:
            return self.weights[node.input[2]]
        return np.zeros(len(self.weights[node.input[1]]), np.float32)


def rejoined(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which two convolutions whose sum is all that they are for have become one again, of
    their joined inputs. (`export/joins.py` splits them, which pays in float32.) A sum of two
    quantised results would be rounded three times.
    """
    layers, joined = Layers(model), onnx.ModelProto()
    joined.CopyFrom(model)
    halves = {n.output[0]: _halves(layers, n) for n in layers.nodes if n.op_type == "Add"}
    gone = {id(half) for pair in halves.values() if pair for half in pair}
    nodes: list[onnx.NodeProto] = []
    for node in layers.nodes:
        if id(node) in gone:
            continue
        pair = halves.get(node.output[0])
        nodes += _one_convolution(layers, joined, node.output[0], *pair) if pair else [node]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del joined.graph.node[:], joined.graph.value_info[:]
    joined.graph.node.extend(kept)
    drop_unused(joined.graph)
    return joined


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Values by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def joins_channels(node: onnx.NodeProto) -> bool:
    """Whether this is a Concat of channels."""
    return node.op_type == "Concat" and attributes(node).get("axis") == 1


def groups(node: onnx.NodeProto) -> int:
    """Of a convolution."""
    return int(attributes(node).get("group", 1))


def dense(weight: NDArray[Any], count: int) -> NDArray[Any]:
    """Weights [outputs, inputs / count, …] of a grouped convolution as [outputs, inputs, …] of a
    dense one, with zeros between the groups.
    """
    outputs, inputs = weight.shape[0] // count, weight.shape[1]
    spread = np.zeros((weight.shape[0], inputs * count, *weight.shape[2:]), dtype=weight.dtype)
    for group in range(count):
        rows = slice(group * outputs, (group + 1) * outputs)
        spread[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return spread


def drop_unused(graph: onnx.GraphProto) -> None:
    """Removes weights that nobody reads."""
    used = {name for node in graph.node for name in node.input}
    kept = [initializer for initializer in graph.initializer if initializer.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _halves(layers: Layers, node: onnx.NodeProto) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """(without, with the bias) where a sum is of two such halves of one convolution."""
    makers = [layers.maker.get(name) for name in node.input]
    if any(m is None or m.op_type != "Conv" for m in makers):
        return None
    first, second = sorted((m for m in makers if m is not None), key=lambda m: len(m.input))
    only = all(layers.only_reader(m.output[0]) is node for m in (first, second))
    same = attributes(first) == attributes(second) and groups(first) == 1
    if not (only and same and (len(first.input), len(second.input)) == (2, 3)):
        return None
    known = {first.input[1], *second.input[1:]} <= set(layers.weights)
    return (first, second) if known else None


def _one_convolution(
    layers: Layers,
    model: onnx.ModelProto,
    result: str,
    first: onnx.NodeProto,
    second: onnx.NodeProto,
) -> Iterator[onnx.NodeProto]:
    pair = [layers.weights[half.input[1]] for half in (first, second)]
    weight = numpy_helper.from_array(np.concatenate(pair, axis=1), f"{result}_weight")
    model.graph.initializer.append(weight)
    join = f"{result}_joined"
    yield helper.make_node("Concat", [first.input[0], second.input[0]], [join], join, axis=1)
    whole = onnx.NodeProto()
    whole.CopyFrom(second)
    whole.name, whole.output[0] = second.name.removesuffix("_last"), result
    whole.input[0], whole.input[1] = join, weight.name
    yield whole
