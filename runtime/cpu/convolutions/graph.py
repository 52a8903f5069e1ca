"""Reads the graph of a backbone as layers: a convolution takes in what follows it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .layers import LINEAR, MOST_BLOCKS, MOST_CHANNELS, Activation, Layer, Network, Unsupported
from .reader import IMAGE, GraphReader, Value, per_channel, unsupported


def read_network(model: Any, output: str) -> Network:  # noqa: ANN401
    """Reads what computes one output of a checked ONNX model whose input is `image`.

    Raises:
        Unsupported: it holds an operator, or a form of one, that is not computed here.
        ValueError: the graph is damaged.
    """
    return _Reader(model, output).network()


class _Reader(GraphReader):
    def __init__(self, model: Any, output: str) -> None:  # noqa: ANN401
        super().__init__(model, output)
        self._reads = Counter([name for node in self._nodes for name in node.input] + [output] * 2)
        self._layers: list[Layer] = []

    def network(self) -> Network:
        handlers: dict[str, Callable[[Any], Value]] = {
            "Conv": self._convolution,
            "Add": self._add,
            "Concat": self._join,
            "Identity": self._same,
            **dict.fromkeys(("Relu", "LeakyRelu", "PRelu", "Clip"), self._activate),
        }
        self._read(handlers, ("", "ai.onnx"), "is not computed here")
        if self._output not in self._values:
            raise Unsupported(f"{self._output} is not made by a convolution")
        last = self._values[self._output]
        if last != (len(self._layers) - 1,):
            self._identity(last)
        return Network(self._mean, self._std, self._layers)

    def _value(self, node: Any, index: int = 0) -> Value:  # noqa: ANN401
        name = node.input[index]
        if name != self._image and name not in self._values:
            raise unsupported(node, f"takes {name!a:.60}, which no convolution makes")
        return self._values.get(name, (IMAGE,))

    def _channels(self, value: Value) -> int:
        return sum(3 if i == IMAGE else self._layers[i].outputs for i in value)

    def _convolution(self, node: Any) -> Value:  # noqa: ANN401
        inputs, weight = self._value(node), self._floats(node, 1)
        groups = self._groups(node, weight, self._channels(inputs))
        if groups > 1 and IMAGE in inputs:
            raise unsupported(node, "has groups of the image's channels")
        return self._made(Layer(inputs, weight, self._bias(node, 2, len(weight)), groups))

    def _made(self, layer: Layer) -> Value:
        self._layers.append(layer)
        return (len(self._layers) - 1,)

    def _identity(self, value: Value) -> Value:
        """Adds a layer that gives what it takes: for what no convolution takes in."""
        count = self._channels(value)
        if count > MOST_CHANNELS:
            raise Unsupported(f"more than {MOST_CHANNELS} channels are joined")
        weight = np.eye(count, dtype=np.float32).reshape(count, count, 1, 1)
        return self._made(Layer(value, weight, np.zeros(count, np.float32)))

    def _open(self, node: Any, index: int = 0) -> Layer | None:  # noqa: ANN401
        """Gives the layer that makes an input of a node, if nothing else reads it."""
        value = self._value(node, index)
        if len(value) > 1 or value[0] == IMAGE or self._reads[node.input[index]] != 1:
            return None
        return self._layers[value[0]]

    def _same(self, node: Any) -> Value:  # noqa: ANN401
        """Gives the input; who else reads it reads the output, too."""
        self._reads[node.output[0]] += self._reads[node.input[0]] - 1
        return self._value(node)

    def _activate(self, node: Any) -> Value:  # noqa: ANN401
        value, layer = self._value(node), self._open(node)
        if layer is None or layer.activation is not LINEAR:
            value = self._identity(value)
            layer = self._layers[-1]
        layer.activation = self._activation(node, layer.outputs)
        return value

    def _activation(self, node: Any, channels: int) -> Activation:  # noqa: ANN401
        if node.op_type == "Relu":
            return Activation("relu")
        if node.op_type == "Clip":
            given = [*map(bool, node.input), False, False]
            low, high = (
                float(self._floats(node, i).reshape(())) if given[i] else infinite
                for i, infinite in ((1, -np.inf), (2, np.inf))
            )
            return Activation("clip", low=low, high=high)
        if node.op_type == "PRelu":
            slopes = self._floats(node, 1)
        else:
            slopes = np.array([self._attributes(node).get("alpha", 0.01)], np.float32)
        return Activation("slopes", per_channel(node, slopes, channels))

    def _add(self, node: Any) -> Value:  # noqa: ANN401
        first, second = sorted((0, 1), key=lambda index: self._value(node, index))
        added, value = self._value(node, first), self._value(node, second)
        if self._channels(added) != self._channels(value):
            raise unsupported(node, "adds tensors of different shapes")
        if (merged := self._sum_of_convolutions(node, first, second)) is not None:
            return merged
        layer = self._open(node, second)
        if len(added) > 1:
            added, value, layer = value, added, None
        if len(added) > 1 or added[0] == IMAGE:
            raise unsupported(node, "adds what no layer makes")
        if layer is None or layer.added is not None or value == added:
            value = self._identity(value)
            layer = self._layers[-1]
        layer.added, layer.activates_first = added[0], layer.activation is not LINEAR
        return value

    def _sum_of_convolutions(self, node: Any, first: int, second: int) -> Value | None:  # noqa: ANN401
        """Makes one convolution of two that are added and of use for nothing else."""
        one, other = self._open(node, first), self._open(node, second)
        if one is None or other is None or not (one.is_plain and other.is_plain):
            return None
        if one is other or one.kernel != other.kernel or one.groups > 1 or other.groups > 1:
            return None
        inputs, weight = one.inputs + other.inputs, np.hstack([one.weight, other.weight])
        if weight.shape[1] > MOST_CHANNELS:
            return None
        index, last = self._value(node, first)[0], self._value(node, second)[0]
        self._layers[last] = replace(
            other, inputs=inputs, weight=weight, bias=one.bias + other.bias
        )
        self._remove(index)
        return (last - 1,)

    def _remove(self, index: int) -> None:
        """Takes out a layer that nothing reads; those behind it move up."""
        del self._layers[index]

        def moved(tensor: int) -> int:
            return tensor - (tensor > index)

        for layer in self._layers:
            layer.inputs = tuple(map(moved, layer.inputs))
            layer.added = None if layer.added is None else moved(layer.added)
        self._values = {name: tuple(map(moved, value)) for name, value in self._values.items()}

    def _join(self, node: Any) -> Value:  # noqa: ANN401
        axis = self._attributes(node).get("axis")
        if axis not in (1, -3):
            raise unsupported(node, f"joins on axis {axis!s:.20}")
        if len(node.input) == 1:
            return self._same(node)
        joined = tuple(i for index in range(len(node.input)) for i in self._value(node, index))
        if len(joined) > MOST_BLOCKS:
            raise unsupported(node, "joins too many tensors")
        return joined
