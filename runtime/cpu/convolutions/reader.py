"""What the readers of float32 and of quantised graphs share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layers import MOST_CHANNELS, MOST_KERNEL, Floats, Unsupported

IMAGE = -1
Value = tuple[int, ...]
"""The layers whose results are joined."""


class GraphReader:
    """Holds the nodes that one output of a checked ONNX model depends on, and its constants."""

    def __init__(self, model: Any, output: str) -> None:  # noqa: ANN401
        from onnx import helper, numpy_helper

        self._attribute = helper.get_attribute_value
        self._weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        self._output, self._nodes = output, _needed(model.graph.node, output)
        self._values: dict[str, Value] = {}
        self._mean, self._std = np.zeros(3, np.float32), np.ones(3, np.float32)
        self._image = "image"

    def _read(
        self, handlers: Mapping[str, Callable[[Any], Value]], domains: Sequence[str], refusal: str
    ) -> None:
        """Reads all nodes by the handlers of their operators. refusal: what is said of others."""
        for node in self._nodes:
            if self._normalises(node):
                continue
            if node.op_type not in handlers or node.domain not in domains:
                raise unsupported(node, refusal)
            self._values[node.output[0]] = handlers[node.op_type](node)

    def _attributes(self, node: Any) -> dict[str, Any]:  # noqa: ANN401
        return {one.name: self._attribute(one) for one in node.attribute}

    def _constant(self, node: Any, index: int) -> NDArray[Any]:  # noqa: ANN401
        name = node.input[index]
        if name not in self._weights:
            raise unsupported(node, f"takes {name!a:.60}, which is not known beforehand")
        return self._weights[name]

    def _floats(self, node: Any, index: int) -> Floats:  # noqa: ANN401
        return np.asarray(self._constant(node, index), dtype=np.float32)

    def _bias(self, node: Any, index: int, outputs: int) -> Floats:  # noqa: ANN401
        """Gives the biases of a convolution; zeros where it has none."""
        if len(node.input) <= index or not node.input[index]:
            return np.zeros(outputs, np.float32)
        bias = self._floats(node, index)
        if bias.shape != (outputs,):
            raise ValueError(f"a convolution of {outputs} outputs has {bias.shape} biases")
        return bias

    def _normalises(self, node: Any) -> bool:  # noqa: ANN401
        """Takes in what is subtracted from the image, and what it is divided by."""
        is_next = len(node.input) == 2 and node.input[0] == self._image
        if node.op_type not in ("Sub", "Div") or not is_next or self._values:
            return False
        found = per_channel(node, self._floats(node, 1), 3)
        if node.op_type == "Sub" and self._image == "image":
            self._mean = found
        elif node.op_type == "Div" and np.all(self._std == 1):
            self._std = found
        else:
            raise unsupported(node, "is not expected there")
        self._image = node.output[0]
        return True

    def _groups(self, node: Any, weight: NDArray[Any], channels: int) -> int:  # noqa: ANN401
        """Checks the form of a convolution [outputs, inputs, k, k]; returns its groups.

        channels: those that it takes.
        """
        is_square = weight.ndim == 4 and weight.shape[2] == weight.shape[3]
        if not is_square or weight.shape[2] % 2 == 0 or weight.shape[2] > MOST_KERNEL:
            raise unsupported(node, f"has weights of the shape {list(weight.shape)!s:.60}")
        known = self._attributes(node)
        expected = {"strides": [1, 1], "dilations": [1, 1], "pads": [weight.shape[2] // 2] * 4}
        for name, only in expected.items():
            found = list(known.get(name, [0] * 4 if name == "pads" else [1, 1]))
            if found != only:
                raise unsupported(node, f"has {name} {found!s:.60}")
        if known.get("auto_pad", b"NOTSET") != b"NOTSET":
            raise unsupported(node, "has auto_pad")
        if max(channels, len(weight)) > MOST_CHANNELS:
            raise unsupported(node, f"has more than {MOST_CHANNELS} channels")
        groups = int(known.get("group", 1))
        if groups < 1 or weight.shape[1] * groups != channels or len(weight) % groups:
            raise ValueError(f"a convolution of {channels} channels has {weight.shape} weights")
        return groups


def per_channel(node: Any, values: Floats, channels: int) -> Floats:  # noqa: ANN401
    """Gives constants [channels] that are one for all, or one per channel of [1, C, h, w]."""
    shapes = (channels, 1, 1), (1, channels, 1, 1)
    if values.size != 1 and values.shape not in shapes:
        raise unsupported(node, f"has constants of the shape {list(values.shape)!s:.60}")
    return np.broadcast_to(values.reshape(-1), (channels,)).astype(np.float32)


def unsupported(node: Any, why: str) -> Unsupported:  # noqa: ANN401
    """Makes the error that names an operator, what it makes, and why it is not computed."""
    return Unsupported(f"the operator {node.op_type!a:.40} ({node.output[0]!a:.60}) {why}")


def _needed(nodes: Any, output: str) -> list[Any]:  # noqa: ANN401
    """Lists the nodes that an output depends on, in their order."""
    wanted, found = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]
