"""ONNX graphs beside those of the float32 bundles: typed ones, and one that is refused."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

KINDS = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def retype(data: bytes, precision: str) -> bytes:
    """A float32 graph with weights and features in `precision`; image, offset, cell and the other
    outputs are cast.
    """
    kind = KINDS[precision]
    model = onnx.load_from_string(data)
    graph = model.graph
    if precision == "bf16":
        model.opset_import[0].version = 22  # the first whose Conv takes bfloat16
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(_half(numpy_helper.to_array(tensor), tensor.name, kind))
    before = [_cast(graph, value, kind) for value in graph.input if _is_cast(value, kind)]
    after = [
        _cast(graph, value, TensorProto.FLOAT, back=True)
        for value in graph.output
        if _is_cast(value, kind)
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    typed: bytes = model.SerializeToString()
    return typed


def unsupported() -> bytes:
    """A graph with an operator that TensorRT-RTX does not have."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, "h", "w"))
    rows = helper.make_tensor_value_info("upscaled", TensorProto.INT64, (4, "n"))
    node = helper.make_node("NonZero", ["image"], ["upscaled"])
    graph = helper.make_graph([node], "unsupported", [image], [rows])
    opset = helper.make_opsetid("", 20)
    model: bytes = helper.make_model(
        graph, opset_imports=[opset], ir_version=10
    ).SerializeToString()
    return model


def _is_cast(value: onnx.ValueInfoProto, kind: int) -> bool:
    """Features change their type; other float32 tensors keep it and are cast inside."""
    if value.type.tensor_type.elem_type != TensorProto.FLOAT:
        return False
    if "features" in value.name:
        value.type.tensor_type.elem_type = kind
        return False
    return True


def _cast(
    graph: onnx.GraphProto, value: onnx.ValueInfoProto, kind: int, back: bool = False
) -> onnx.NodeProto:
    """The cast between an input or output and what the nodes call it from now on."""
    inner = f"{value.name}_typed"
    for node in graph.node:
        ends = node.output if back else node.input
        ends[:] = [inner if name == value.name else name for name in ends]
    names = [inner, value.name] if back else [value.name, inner]
    return helper.make_node("Cast", names[:1], names[1:], to=kind)


def _half(values: NDArray[Any], name: str, kind: int) -> onnx.TensorProto:
    if kind == TensorProto.FLOAT16:
        return numpy_helper.from_array(values.astype(np.float16), name)
    upper = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return helper.make_tensor(name, kind, values.shape, upper.tobytes(), raw=True)
