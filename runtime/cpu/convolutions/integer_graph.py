"""Reads a quantised graph for CPUs as layers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .integer_layers import IntegerLayer, IntegerNetwork
from .layers import LINEAR, MOST_CHANNELS, Activation, Unsupported
from .reader import IMAGE, GraphReader, Value, unsupported

_LAST, _FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # where channels go


def read_integer_network(model: Any, output: str) -> IntegerNetwork:  # noqa: ANN401
    """Reads what computes one output of a checked ONNX model of the set `int8-cpu`.

    Raises:
        Unsupported: it holds an operator, or a form of one, that is not computed here.
        ValueError: the graph is damaged.
    """
    return _Reader(model, output).network()


class _Reader(GraphReader):
    def __init__(self, model: Any, output: str) -> None:  # noqa: ANN401
        super().__init__(model, output)
        self._coded: set[str] = set()
        self._layers: list[IntegerLayer] = []

    def network(self) -> IntegerNetwork:
        handlers: dict[str, Callable[[Any], Value]] = {
            "Conv": self._first,
            "QLinearConv": self._convolution,
            "QuantizeLinear": self._quantise,
            "Transpose": self._turn,
            "Concat": self._join,
            "Cast": self._cast,
            "MatMul": self._product,
            "Add": self._add_bias,
            "Relu": self._activate,
        }
        self._read(handlers, ("", "ai.onnx", "com.microsoft"), "is not computed here in int8")
        last = len(self._layers) - 1
        if self._value(self._output) != (last,) or self._output in self._coded or last < 1:
            raise Unsupported(f"{self._output!a:.60} is not made by the last layer")
        if any(last in layer.inputs for layer in self._layers) or len(self._layers[last].scale):
            raise Unsupported(f"{self._output!a:.60} is not made of codes in float32")
        return IntegerNetwork(self._mean, self._std, self._layers)

    def _known(self, name: str) -> NDArray[Any]:
        if name not in self._weights:
            raise Unsupported(f"{name!a:.80} is not known before the graph runs")
        return self._weights[name]

    def _value(self, name: str) -> Value:
        if name not in self._values:
            raise Unsupported(f"{name!a:.80} is no result of a layer")
        return self._values[name]

    def _channels(self, value: Value) -> int:
        return sum(self._layers[i].outputs for i in value)

    def _window(self, node: Any, weight: NDArray[Any], inputs: int) -> int:  # noqa: ANN401
        """Checks the form of a convolution; returns the side of its window."""
        if self._attributes(node).get("group", 1) != 1:
            raise unsupported(node, "has groups, which are zeros here")
        self._groups(node, weight, inputs)
        return int(weight.shape[2])

    def _made(self, layer: IntegerLayer) -> Value:
        self._layers.append(layer)
        return (len(self._layers) - 1,)

    def _first(self, node: Any) -> Value:  # noqa: ANN401
        if node.input[0] != self._image or self._layers:
            raise unsupported(node, "in float32 is not the first layer")
        weight = self._known(node.input[1]).astype(np.float32)
        self._window(node, weight, 3)
        bias, scale = self._bias(node, 2, len(weight)), np.ones(len(weight), np.float32)
        return self._made(IntegerLayer((IMAGE,), weight, bias, scale=scale))

    def _open(self, node: Any) -> IntegerLayer:  # noqa: ANN401
        """Gives the layer that a node follows: the last one, before it is stored."""
        value = self._value(node.input[0])
        if value != (len(self._layers) - 1,) or node.input[0] in self._coded:
            raise unsupported(node, "in float32 does not follow its layer")
        return self._layers[-1]

    def _activate(self, node: Any) -> Value:  # noqa: ANN401
        self._open(node).activation = Activation("relu")
        return self._value(node.input[0])

    def _quantise(self, node: Any) -> Value:  # noqa: ANN401
        layer = self._open(node)
        if len(self._layers) > 1:
            raise unsupported(node, "follows float32 layers in the middle")
        layer.step, layer.zero = self._code(node.input[1], node.input[2])
        self._coded.add(node.output[0])
        return self._value(node.input[0])

    def _code(self, scale: str, zero: str) -> tuple[float, int]:
        code = self._known(zero)
        if code.dtype != np.uint8 or code.size != 1:
            raise Unsupported(f"the code of {zero!a:.60} is not one of uint8 for all channels")
        return float(self._known(scale).reshape(())), int(code.reshape(()))

    def _turn(self, node: Any) -> Value:  # noqa: ANN401
        value = self._value(node.input[0])
        order = self._attributes(node).get("perm")
        is_result = node.output[0] == self._output
        if order != (_FIRST if is_result else _LAST) or node.input[0] in self._coded:
            raise unsupported(node, f"has perm {order!s:.40}")
        return value

    def _join(self, node: Any) -> Value:  # noqa: ANN401
        if self._attributes(node).get("axis") not in (3, -1):
            raise unsupported(node, "does not join channels that come last")
        if not self._coded.issuperset(node.input):
            raise unsupported(node, "joins what are no codes")
        joined = tuple(i for name in node.input for i in self._value(name))
        if len(joined) > MOST_CHANNELS:
            raise unsupported(node, "joins too many tensors")
        self._coded.add(node.output[0])
        return joined

    def _codes(self, node: Any) -> Value:  # noqa: ANN401
        if node.input[0] not in self._coded:
            raise unsupported(node, "does not read codes")
        return self._value(node.input[0])

    def _convolution(self, node: Any) -> Value:  # noqa: ANN401
        inputs, weight = self._codes(node), self._known(node.input[3])
        kernel = self._window(node, weight, self._channels(inputs))
        if weight.dtype != np.int8 or self._known(node.input[5]).any():
            raise unsupported(node, "has weights that are not symmetric int8")
        if self._attributes(node).get("channels_last") != 1:
            raise unsupported(node, "has its channels first")
        step, zero = self._code(node.input[1], node.input[2])
        if kernel > 1 and any(self._layers[i].zero != zero for i in inputs):
            raise unsupported(node, "pads parts of different codes")
        out_step, out_zero = self._code(node.input[6], node.input[7])
        scales = np.broadcast_to(self._known(node.input[4]).astype(np.float32), (len(weight),))
        scale = np.float32(step) * scales / np.float32(out_step)
        bias = np.zeros(len(weight), np.int64)
        if len(node.input) > 8 and node.input[8]:
            bias += self._known(node.input[8]).astype(np.int64).reshape(len(weight))
        bias -= zero * weight.astype(np.int64).sum(axis=(1, 2, 3))
        self._coded.add(node.output[0])
        wrapped = (bias & 0xFFFFFFFF).astype(np.uint32).view(np.int32)  # as sums in int32 do
        nothing = np.zeros(len(weight), np.float32)
        return self._made(
            IntegerLayer(inputs, weight, nothing, scale=scale, whole_bias=wrapped, zero=out_zero)
        )

    def _cast(self, node: Any) -> Value:  # noqa: ANN401
        return self._codes(node)

    def _product(self, node: Any) -> Value:  # noqa: ANN401
        inputs, weight = self._value(node.input[0]), self._known(node.input[1]).astype(np.float32)
        if node.input[0] in self._coded or weight.ndim != 2:
            raise unsupported(node, "does not read codes as float32")
        if weight.shape[0] != self._channels(inputs):
            raise ValueError(f"a product of {self._channels(inputs)} channels has {weight.shape}")
        nothing = np.zeros(weight.shape[1], np.float32)
        return self._made(IntegerLayer(inputs, weight.T[:, :, None, None].copy(), nothing))

    def _add_bias(self, node: Any) -> Value:  # noqa: ANN401
        layer = self._open(node)
        if layer.activation is not LINEAR or len(layer.scale):
            raise unsupported(node, "is no bias of a product")
        layer.bias = layer.bias + self._known(node.input[1]).astype(np.float32)
        return self._value(node.input[0])
