"""A graph that TensorRT-RTX refuses."""

from onnx import TensorProto, helper


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
