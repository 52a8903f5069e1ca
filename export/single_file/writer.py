"""Writes ONNX nodes, each computation once, and takes over whole graphs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper


class GraphWriter:
    """Collects the nodes and weights of one graph. Values are known by their names; what was
    computed before from the same values is not computed again.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self._made: dict[tuple[object, ...], str] = {}
        self._copies: dict[str, int] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
        """Adds a node with one output and returns its name."""
        key = (kind, inputs, repr(sorted(attributes.items())))
        if key not in self._made:
            name = f"{kind.lower()}_{len(self.nodes)}"
            self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
            self._made[key] = name
        return self._made[key]

    def constant(self, values: ArrayLike, dtype: DTypeLike = np.float32, name: str = "") -> str:
        """Adds a weight and returns its name."""
        array = np.array(values, dtype)
        key = ("weight", name, array.tobytes(), array.shape, array.dtype.str)
        if key not in self._made:
            name = name or f"constant_{len(self.weights)}"
            self.weights[name] = numpy_helper.from_array(array, name)
            self._made[key] = name
        return self._made[key]

    def whole(self, *values: int) -> str:
        """Adds a vector of int64."""
        return self.constant(values, np.int64)

    def cast(self, value: str, to: int = TensorProto.FLOAT) -> str:
        """Converts a value to an ONNX type."""
        return self.op("Cast", value, to=to)

    def reshape(self, value: str, *sides: int | str) -> str:
        """Reshapes to sides that are numbers or the names of [1] int64 values."""
        return self.op("Reshape", value, self.shape(*sides))

    def shape(self, *sides: int | str) -> str:
        """Makes a shape of numbers and of [1] int64 values."""
        if all(isinstance(side, int) for side in sides):
            return self.whole(*map(int, sides))
        parts = [side if isinstance(side, str) else self.whole(side) for side in sides]
        return self.op("Concat", *parts, axis=0)

    def unsqueeze(self, value: str, *axes: int) -> str:
        """Adds axes of length 1."""
        return self.op("Unsqueeze", value, self.whole(*axes))

    def gather(self, value: str, index: str, axis: int = 0) -> str:
        """Picks slices along an axis."""
        return self.op("Gather", value, index, axis=axis)

    def insert(
        self, model: onnx.ModelProto, name: str, inputs: Mapping[str, str], outputs: Sequence[str]
    ) -> list[str]:
        """Copies those nodes of a graph that compute these outputs; what `inputs` names is not
        computed but taken from here. Copies of one name share their weights.
        """
        copy = self._copies[name] = self._copies.get(name, -1) + 1
        graph = model.graph
        known = {tensor.name: f"{name}.{tensor.name}" for tensor in graph.initializer}
        known |= inputs
        nodes = _needed(graph, set(inputs), outputs)
        used = {one for node in nodes for one in node.input}
        for tensor in graph.initializer:
            if tensor.name in used and known[tensor.name] not in self.weights:
                kept = self.weights[known[tensor.name]] = onnx.TensorProto()
                kept.CopyFrom(tensor)
                kept.name = known[tensor.name]
        known |= {one: f"{name}_{copy}.{one}" for node in nodes for one in node.output if one}
        for node in nodes:
            new = onnx.NodeProto()
            new.CopyFrom(node)
            new.input[:] = [known[one] if one else "" for one in node.input]
            new.output[:] = [known[one] if one else "" for one in node.output]
            new.name = new.output[0]
            self.nodes.append(new)
        return [known[one] for one in outputs]


def _needed(
    graph: onnx.GraphProto, given: set[str], outputs: Sequence[str]
) -> list[onnx.NodeProto]:
    """Lists the nodes that outputs need, in the graph's order, where some values are given."""
    wanted, found = set(outputs) - given, []
    for node in reversed(graph.node):
        if wanted & {*node.output}:
            found.append(node)
            wanted |= {*node.input} - given
    return found[::-1]
