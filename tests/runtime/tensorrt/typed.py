"""A bundle's float32 graph retyped as a half-precision set has it."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KINDS = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
KEPT = ("offset", "cell")  # coordinates stay float32


def retype(data: bytes, precision: str) -> bytes:
    """Weights and features in `precision`; image, index, offset, cell and all outputs but
    `features` as they are.
    """
    kind = KINDS[precision]
    model = onnx.load_from_string(data)
    if precision == "bf16":
        model.opset_import[0].version = 22  # the first whose Conv takes bfloat16
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(_half(values, tensor.name, kind))
    casts, renamed = [], {}
    for value in graph.input:
        if value.name == "features":
            value.type.tensor_type.elem_type = kind
        elif value.type.tensor_type.elem_type == TensorProto.FLOAT:
            renamed[value.name] = f"{value.name}_typed"
            casts.append(helper.make_node("Cast", [value.name], [renamed[value.name]], to=kind))
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for value in graph.output:
        if "features" in value.name:
            value.type.tensor_type.elem_type = kind
            continue
        for node in graph.node:
            node.output[:] = [
                f"{name}_typed" if name == value.name else name for name in node.output
            ]
        casts.append(
            helper.make_node("Cast", [f"{value.name}_typed"], [value.name], to=TensorProto.FLOAT)
        )
    inputs = [cast for cast in casts if cast.output[0] in renamed.values()]
    nodes = [*inputs, *graph.node, *(cast for cast in casts if cast not in inputs)]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _half(values: np.ndarray, name: str, kind: int) -> onnx.TensorProto:
    if kind == TensorProto.FLOAT16:
        return numpy_helper.from_array(values.astype(np.float16), name)
    upper = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return helper.make_tensor(name, kind, values.shape, upper.tobytes(), raw=True)
