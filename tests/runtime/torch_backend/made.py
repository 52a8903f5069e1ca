"""Small ONNX models, made by hand or from our networks, and what ONNX Runtime says of them."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from pcsr.amend import Folder
from pcsr.bundle import MANIFEST, Bundle
from pcsr.export.graphs.onnx_graph import describe_graph

Array = NDArray[Any]
OPSET = 20
TYPES = {  # of a precision: in ONNX, in PyTorch
    "fp16": (int(TensorProto.FLOAT16), torch.float16),
    "bf16": (int(TensorProto.BFLOAT16), torch.bfloat16),
}


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
    outputs cast, but for features and row maps, which are of that type themselves.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    floats = [i for i in graph.initializer if i.data_type == TensorProto.FLOAT]
    for tensor in floats:
        values = numpy_helper.to_array(tensor)
        raw = torch.from_numpy(np.array(values)).to(dict(TYPES.values())[kind]).view(torch.int16)
        tensor.CopyFrom(
            helper.make_tensor(tensor.name, kind, values.shape, raw.numpy().tobytes(), raw=True)
        )
    for value in (*graph.input, *graph.output):
        if value.name.endswith("features"):
            value.type.tensor_type.elem_type = kind
    ends = [v for v in graph.input if v.type.tensor_type.elem_type == TensorProto.FLOAT]
    results = [v for v in graph.output if not v.name.endswith("features")]
    renamed = {v.name: f"{v.name}/typed" for v in (*ends, *results)}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    before = [helper.make_node("Cast", [v.name], [renamed[v.name]], to=kind) for v in ends]
    after = [
        helper.make_node("Cast", [renamed[v.name]], [v.name], to=TensorProto.FLOAT) for v in results
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return model


def with_precision(bundle: Bundle, precision: str, path: Path) -> Bundle:
    """A copy of a bundle, with a second set of graphs."""
    shutil.copytree(bundle.path, path)
    (path / precision).mkdir()
    graphs = {}
    for role in bundle.graphs("fp32"):
        model = typed(onnx.load_model_from_string(bundle.graph_bytes(role)), TYPES[precision][0])
        file = f"{precision}/{role}.onnx"
        onnx.save_model(model, path / file)
        graphs[role] = describe_graph(model, Folder(path, path).file(file))
    both = {**bundle.manifest.graphs, precision: graphs}
    (path / MANIFEST).write_text(replace(bundle.manifest, graphs=both).to_json())
    return Bundle.load(path)


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
