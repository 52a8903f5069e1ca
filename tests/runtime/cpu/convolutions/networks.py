"""Small graphs of convolutions, and what they give computed slowly."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pcsr.runtime.cpu.convolutions.graph import read_network
from pcsr.runtime.cpu.convolutions.layers import Activation, Layer
from pcsr.runtime.cpu.convolutions.packing import to_bf16
from pcsr.runtime.cpu.convolutions.runner import ConvolutionRunner
from pcsr.runtime.cpu.convolutions.structs import Program

Floats = NDArray[np.float32]
OPSET, IR_VERSION = 20, 10


class Graph:
    """An ONNX graph that is put together node by node; every method gives a result's name."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, values: Any) -> str:  # noqa: ANN401
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [*inputs], [name], **attributes))
        return name

    def normal(self, *shape: int) -> Floats:
        return self.random.normal(size=shape).astype(np.float32)

    def normalised(self, image: str = "image") -> str:
        mean = self.weight(np.reshape([0.4, 0.5, 0.6], (1, 3, 1, 1)))
        std = self.weight(np.reshape([0.2, 0.25, 0.3], (1, 3, 1, 1)))
        return self.node("Div", self.node("Sub", image, mean), std)

    def convolution(
        self,
        value: str,
        channels: int,
        outputs: int,
        kernel: int = 3,
        groups: int = 1,
        bias: bool = True,
        **attributes: Any,  # noqa: ANN401
    ) -> str:
        inputs = channels // groups
        weight = self.normal(outputs, inputs, kernel, kernel) / np.sqrt(inputs * kernel**2)
        names = [self.weight(weight), *([self.weight(self.normal(outputs))] if bias else [])]
        known = {"pads": [kernel // 2] * 4, "group": groups, "kernel_shape": [kernel, kernel]}
        return self.node("Conv", value, *names, **known | attributes)

    def first(self, outputs: int) -> str:
        """The first layer of every network here, behind which others are tried."""
        return self.convolution(self.normalised(), 3, outputs)

    def model(self, output: str) -> onnx.ModelProto:
        """The model whose features are this result."""
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = ["features" if name == output else name for name in names]
        shape = [1, None, "h", "w"]
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
            self.weights,
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def runner_of(model: onnx.ModelProto, threads: int = 1) -> ConvolutionRunner:
    program = Program(read_network(model, "features"))
    return ConvolutionRunner("backbone", "features", program, threads)


def computed(runner: ConvolutionRunner, image: Floats) -> Floats:
    (features,) = runner.run_image("backbone", image, ("features",))
    return features


def photo(*size: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).random((1, 3, *size), dtype=np.float32)


def rounded(values: Floats) -> Floats:
    """As bf16 holds them."""
    return (to_bf16(values).astype(np.uint32) << 16).view(np.float32)


def expected(model: onnx.ModelProto, image: Floats) -> Floats:
    """What the layers give with sums in float64, and bf16 wherever the kernels round to it."""
    network = read_network(model, "features")
    values = (image - network.mean[:, None, None]) / network.std[:, None, None]
    tensors = [rounded(values)]
    for index, layer in enumerate(network.layers):
        found = _convolved(layer, tensors)
        if layer.activates_first:
            found = _activated(layer.activation, found)
        if layer.added is not None:
            found = found + tensors[layer.added + 1]
        if not layer.activates_first:
            found = _activated(layer.activation, found)
        is_last = index + 1 == len(network.layers)
        tensors.append(found if is_last else rounded(found.astype(np.float32)))
    return tensors[-1].astype(np.float32)


def _convolved(layer: Layer, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
    joined = np.concatenate([tensors[i + 1] for i in layer.inputs], axis=1).astype(np.float64)
    weight, bias = (
        torch.tensor(x, dtype=torch.float64) for x in (rounded(layer.weight), layer.bias)
    )
    padding, groups = layer.kernel // 2, layer.groups
    found: NDArray[Any] = torch.nn.functional.conv2d(
        torch.from_numpy(joined), weight, bias, padding=padding, groups=groups
    ).numpy()
    return found


def _activated(activation: Activation, values: NDArray[Any]) -> NDArray[Any]:
    below = np.minimum(values, 0)
    found = values
    if activation.kind == "relu":
        found = values - below
    elif activation.kind == "slopes":
        found = values - below + below * activation.slopes[:, None, None]
    elif activation.kind == "clip":
        found = np.clip(values, activation.low, activation.high)
    return found
