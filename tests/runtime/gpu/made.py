"""Small ONNX models, made by hand or from our networks, and what ONNX Runtime says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

Array = NDArray[Any]
OPSET = 20


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Array],
    constants: Mapping[str, Array],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """A checked model; inputs give their types and ranks, every dimension is free."""
    values = [
        helper.make_tensor_value_info(name, _onnx_type(array), [None] * array.ndim)
        for name, array in inputs.items()
    ]
    results = [helper.make_value_info(name, onnx.TypeProto()) for name in outputs]
    kept = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "made", values, results, kept)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def typed(model: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    """The same model of float16 or bfloat16 inside: float32 constants are converted, inputs and
    outputs cast.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    floats = [i for i in graph.initializer if i.data_type == TensorProto.FLOAT]
    for tensor in floats:
        values = numpy_helper.to_array(tensor)
        raw = torch.from_numpy(np.array(values)).to(_torch_type(kind)).view(torch.int16)
        tensor.CopyFrom(
            helper.make_tensor(tensor.name, kind, values.shape, raw.numpy().tobytes(), raw=True)
        )
    ends = [v for v in graph.input if v.type.tensor_type.elem_type == TensorProto.FLOAT]
    renamed = {v.name: f"{v.name}/typed" for v in (*ends, *graph.output)}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    before = [helper.make_node("Cast", [v.name], [renamed[v.name]], to=kind) for v in ends]
    after = [
        helper.make_node("Cast", [renamed[v.name]], [v.name], to=TensorProto.FLOAT)
        for v in graph.output
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return model


def by_onnxruntime(model: onnx.ModelProto | bytes, inputs: Mapping[str, Array]) -> list[Array]:
    """On the CPU."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(data, options, ["CPUExecutionProvider"])
    found: list[Array] = session.run(None, dict(inputs))
    return found


def tensors(inputs: Mapping[str, Array]) -> list[Tensor]:
    """The same values for PyTorch."""
    return [torch.from_numpy(array.copy()) for array in inputs.values()]


def largest_difference(found: Sequence[Tensor], expected: Sequence[Array]) -> float:
    """Relative to the largest expected value (at least 1). Shapes and types must agree."""
    worst = 0.0
    for tensor, array in zip(found, expected, strict=True):
        assert tuple(tensor.shape) == array.shape
        assert tensor.dtype == torch.from_numpy(np.empty(0, array.dtype)).dtype
        if array.size:
            error = np.abs(tensor.double().numpy() - array.astype(np.float64)).max()
            worst = max(worst, float(error) / max(1.0, float(np.abs(array).max())))
    return worst


def _onnx_type(array: Array) -> int:
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def _torch_type(kind: int) -> torch.dtype:
    return torch.float16 if kind == TensorProto.FLOAT16 else torch.bfloat16
