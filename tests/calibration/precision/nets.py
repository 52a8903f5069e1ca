"""Small image graphs with known weights, and what runs them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
CHANNELS = 8


class Net:
    """Builds a graph image [1, 3, h, w] -> out, node by node. Weights are random, seeded."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, Array] = {}

    def conv(
        self,
        source: str,
        out: str,
        inputs: int = CHANNELS,
        outputs: int = CHANNELS,
        size: int = 3,
        group: int = 1,
        gain: float = 1.0,
    ) -> "Net":
        shape = (outputs, inputs // group, size, size)
        weight = gain * self._random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        self._weights[f"{out}.w"] = weight.astype(np.float32)
        self._weights[f"{out}.b"] = (0.1 * self._random.normal(size=outputs)).astype(np.float32)
        return self.add(
            "Conv", [source, f"{out}.w", f"{out}.b"], out, group=group, pads=[size // 2] * 4
        )

    def add(self, kind: str, sources: list[str], out: str, **attributes: Any) -> "Net":  # noqa: ANN401
        self._nodes.append(helper.make_node(kind, sources, [out], f"node_{out}", **attributes))
        return self

    def halve(self, source: str, first: str, second: str) -> "Net":
        """Splits the channels in two."""
        self._nodes.append(
            helper.make_node("Split", [source], [first, second], axis=1, num_outputs=2)
        )
        return self

    def change(self, name: str, factor: float) -> "Net":
        """Multiplies a weight."""
        self._weights[name] = (self._weights[name] * factor).astype(np.float32)
        return self

    def scale(self, name: str, factors: Array) -> "Net":
        """Multiplies the output channels of a layer."""
        self._weights[f"{name}.w"] *= factors.astype(np.float32)[:, None, None, None]
        self._weights[f"{name}.b"] *= factors.astype(np.float32)
        return self

    def build(self, out: str = "out") -> onnx.ModelProto:
        ends = [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"]),
            helper.make_tensor_value_info(out, TensorProto.FLOAT, [1, "c", "h", "w"]),
        ]
        weights = [numpy_helper.from_array(array, name) for name, array in self._weights.items()]
        graph = helper.make_graph(self._nodes, "net", ends[:1], ends[1:], weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def image(height: int = 17, width: int = 23, seed: int = 1) -> Array:
    return np.random.default_rng(seed).random((1, 3, height, width), dtype=np.float32)


def run(model: onnx.ModelProto, x: Array, settings: Mapping[str, str] | None = None) -> Array:
    """The only output."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    for key, value in (settings or {}).items():
        options.add_session_config_entry(key, value)
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    found: Array = session.run(None, {"image": x})[0]
    return found


def values(model: onnx.ModelProto, names: list[str], x: Array) -> dict[str, Array]:
    """Tensors inside a graph."""
    open_ended = onnx.ModelProto()
    open_ended.CopyFrom(model)
    open_ended.graph.output.extend(
        onnx.ValueInfoProto(name=n) for n in names if n != model.graph.output[0].name
    )
    session = ort.InferenceSession(
        open_ended.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return dict(zip(names, session.run(names, {"image": x}), strict=True))


def ranges_of(model: onnx.ModelProto, x: Array) -> dict[str, tuple[float, float]]:
    """Of every tensor that a node makes, as they are on one image."""
    names = [name for node in model.graph.node for name in node.output]
    return {n: (float(v.min()), float(v.max())) for n, v in values(model, names, x).items()}


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    """Operators and how often they are there."""
    names = [node.op_type for node in model.graph.node]
    return {name: names.count(name) for name in dict.fromkeys(names)}
