"""Reads the graph of a backbone as layers: a convolution takes in what follows it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .layers import LINEAR, MOST_CHANNELS, MOST_KERNEL, Activation, Floats, Layer, Network
from .layers import Unsupported as _Unsupported

IMAGE = -1
Value = tuple[int, ...]


def read_network(model: Any, output: str) -> Network:  # noqa: ANN401
    """Reads what computes one output of a checked ONNX model whose input is `image`.

    Raises:
        Unsupported: it holds an operator, or a form of one, that is not computed here.
        ValueError: the graph is damaged.
    """
    return _Reader(model, output).network()


class _Reader:
    def __init__(self, model: Any, output: str) -> None:  # noqa: ANN401
        from onnx import helper, numpy_helper

        self._attribute = helper.get_attribute_value
        self._weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        self._output = output
        self._nodes = _needed(model.graph.node, output)
        self._reads = Counter([name for node in self._nodes for name in node.input] + [output] * 2)
        self._values: dict[str, Value] = {}
        self._layers: list[Layer] = []
        self._mean, self._std = np.zeros(3, np.float32), np.ones(3, np.float32)
        self._image = "image"

    def network(self) -> Network:
        handlers: dict[str, Callable[[Any], Value]] = {
            "Conv": self._convolution,
            "Add": self._add,
            "Concat": self._join,
            "Identity": lambda node: self._value(node.input[0]),
            **dict.fromkeys(("Relu", "LeakyRelu", "PRelu", "Clip"), self._activate),
        }
        for node in self._nodes:
            if self._normalises(node):
                continue
            if node.op_type not in handlers or node.domain not in ("", "ai.onnx"):
                raise _unsupported(node, "is not computed here")
            self._values[node.output[0]] = handlers[node.op_type](node)
        last = self._value(self._output)
        if last != (len(self._layers) - 1,) or self._is_read_within(last[0]):
            self._identity(last)
        return Network(self._mean, self._std, self._layers)

    def _normalises(self, node: Any) -> bool:  # noqa: ANN401
        """Takes in what is subtracted from the image, and what it is divided by."""
        is_next = len(node.input) == 2 and node.input[0] == self._image
        if node.op_type not in ("Sub", "Div") or not is_next or self._values:
            return False
        found = np.broadcast_to(self._floats(node.input[1]).reshape(-1), (3,)).copy()
        if node.op_type == "Sub" and self._image == "image":
            self._mean = found
        elif node.op_type == "Div" and np.all(self._std == 1):
            self._std = found
        else:
            raise _unsupported(node, "is not expected there")
        self._image = node.output[0]
        return True

    def _value(self, name: str) -> Value:
        if name == self._image:
            return (IMAGE,)
        if name not in self._values:
            raise _Unsupported(f"{name!a:.80} is no result of a convolution")
        return self._values[name]

    def _floats(self, name: str) -> Floats:
        if name not in self._weights:
            raise _Unsupported(f"{name!a:.80} is not known before the graph runs")
        return np.asarray(self._weights[name], dtype=np.float32)

    def _channels(self, value: Value) -> int:
        return sum(3 if i == IMAGE else self._layers[i].outputs for i in value)

    def _convolution(self, node: Any) -> Value:  # noqa: ANN401
        inputs, weight = self._value(node.input[0]), self._floats(node.input[1])
        is_square = weight.ndim == 4 and weight.shape[2] == weight.shape[3]
        if not is_square or weight.shape[2] % 2 == 0 or weight.shape[2] > MOST_KERNEL:
            raise _unsupported(node, f"has weights of the shape {list(weight.shape)!s:.60}")
        kernel, known = weight.shape[2], {one.name: self._attribute(one) for one in node.attribute}
        groups = int(known.get("group", 1))
        for name, only in (("strides", [1, 1]), ("dilations", [1, 1]), ("pads", [kernel // 2] * 4)):
            default = [0] * 4 if name == "pads" else [1, 1]
            if list(known.get(name, default)) != only:
                raise _unsupported(node, f"has {name} {list(known.get(name, default))!s:.60}")
        if known.get("auto_pad", b"NOTSET") != b"NOTSET":
            raise _unsupported(node, "has auto_pad")
        channels = self._channels(inputs)
        if max(channels, len(weight)) > MOST_CHANNELS:
            raise _unsupported(node, f"has more than {MOST_CHANNELS} channels")
        if groups < 1 or weight.shape[1] * groups != channels or len(weight) % groups:
            raise ValueError(f"a convolution of {channels} channels has {weight.shape} weights")
        if groups > 1 and IMAGE in inputs:
            raise _unsupported(node, "has groups of the image's channels")
        bias = np.zeros(len(weight), np.float32)
        if len(node.input) > 2 and node.input[2]:
            bias = self._floats(node.input[2])
        if bias.shape != (len(weight),):
            raise ValueError(f"a convolution of {len(weight)} outputs has {bias.shape} biases")
        return self._made(Layer(inputs, weight, bias, groups))

    def _made(self, layer: Layer) -> Value:
        self._layers.append(layer)
        return (len(self._layers) - 1,)

    def _identity(self, value: Value) -> Value:
        """Adds a layer that gives what it takes: for what no convolution takes in."""
        count = self._channels(value)
        if count > MOST_CHANNELS:
            raise _Unsupported(f"more than {MOST_CHANNELS} channels are joined")
        weight = np.eye(count, dtype=np.float32).reshape(count, count, 1, 1)
        return self._made(Layer(value, weight, np.zeros(count, np.float32)))

    def _open(self, name: str) -> Layer | None:
        """Gives the layer that makes a value which one node alone reads."""
        value = self._value(name)
        if len(value) > 1 or value[0] == IMAGE or self._reads[name] != 1:
            return None
        return self._layers[value[0]]

    def _is_read_within(self, tensor: int) -> bool:
        return any(tensor in (*layer.inputs, layer.added) for layer in self._layers)

    def _activate(self, node: Any) -> Value:  # noqa: ANN401
        value, layer = self._value(node.input[0]), self._open(node.input[0])
        if layer is None or layer.activation is not LINEAR:
            value = self._identity(value)
            layer = self._layers[-1]
        layer.activation = self._activation(node, layer.outputs)
        return value

    def _activation(self, node: Any, channels: int) -> Activation:  # noqa: ANN401
        if node.op_type == "Relu":
            return Activation("relu")
        if node.op_type == "Clip":
            bounds = [*map(str, node.input[1:]), "", ""][:2]
            low, high = (
                float(self._floats(name).reshape(())) if name else infinite
                for name, infinite in zip(bounds, (-np.inf, np.inf), strict=True)
            )
            return Activation("clip", low=low, high=high)
        if node.op_type == "PRelu":
            slopes = self._floats(node.input[1])
            if slopes.size not in (1, channels) or slopes.size != slopes.shape[:1].count(channels):
                slopes = _per_channel(node, slopes, channels)
            slopes = slopes.reshape(-1)
        else:
            known = {one.name: self._attribute(one) for one in node.attribute}
            slopes = np.array([known.get("alpha", 0.01)], np.float32)
        return Activation("slopes", np.broadcast_to(slopes, (channels,)).astype(np.float32))

    def _add(self, node: Any) -> Value:  # noqa: ANN401
        first, second = sorted(node.input, key=self._value)
        values = self._value(first), self._value(second)
        if self._channels(values[0]) != self._channels(values[1]):
            raise _unsupported(node, "adds tensors of different shapes")
        if (merged := self._sum_of_convolutions(first, second)) is not None:
            return merged
        if len(values[0]) > 1 or values[0][0] == IMAGE:
            raise _unsupported(node, "adds what is no result of one layer")
        layer, value = self._open(second), values[1]
        if layer is None or layer.added is not None or value == values[0]:
            value = self._identity(value)
            layer = self._layers[-1]
        layer.added, layer.activates_first = values[0][0], layer.activation is not LINEAR
        return value

    def _sum_of_convolutions(self, first: str, second: str) -> Value | None:
        """Makes one convolution of two that are added and of use for nothing else."""
        one, other = self._open(first), self._open(second)
        if one is None or other is None or not (one.is_plain and other.is_plain):
            return None
        if one is other or one.kernel != other.kernel or one.groups > 1 or other.groups > 1:
            return None
        inputs, weight = one.inputs + other.inputs, np.hstack([one.weight, other.weight])
        if weight.shape[1] > MOST_CHANNELS:
            return None
        index, last = self._value(first)[0], self._value(second)
        self._layers[last[0]] = replace(
            other, inputs=inputs, weight=weight, bias=one.bias + other.bias
        )
        self._remove(index)
        return (last[0] - 1,)

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
        axis = next((self._attribute(one) for one in node.attribute if one.name == "axis"), None)
        if axis not in (1, -3):
            raise _unsupported(node, f"joins on axis {axis!s:.20}")
        joined = tuple(i for name in node.input for i in self._value(name))
        if len(joined) > MOST_CHANNELS:
            raise _unsupported(node, "joins too many tensors")
        return joined


def _needed(nodes: Any, output: str) -> list[Any]:  # noqa: ANN401
    """Lists the nodes that an output depends on, in their order."""
    wanted, found = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def _per_channel(node: Any, slopes: Floats, channels: int) -> Floats:  # noqa: ANN401
    if slopes.shape not in ((), (1,), (channels, 1, 1), (1, channels, 1, 1)):
        raise _unsupported(node, f"has slopes of the shape {list(slopes.shape)!s:.60}")
    return slopes


def _unsupported(node: Any, why: str) -> _Unsupported:  # noqa: ANN401
    return _Unsupported(f"the operator {node.op_type!a:.40} ({node.output[0]!a:.60}) {why}")
