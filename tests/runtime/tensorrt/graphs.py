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


def unsupported_rows(width: int) -> bytes:
    """An upsampler's graph that computes in uint16, which TensorRT-RTX does not have."""
    shapes = {
        "features": ("pixels", width),
        "index": ("rows",),
        "offset": ("rows", 2),
        "cell": (2,),
    }
    inputs = [
        helper.make_tensor_value_info(
            name, TensorProto.INT32 if name == "index" else TensorProto.FLOAT, shape
        )
        for name, shape in shapes.items()
    ]
    weight = helper.make_tensor("weight", TensorProto.UINT16, (2, 3), [1] * 6)
    nodes = [
        helper.make_node("Cast", ["offset"], ["exact"], to=TensorProto.UINT16),
        helper.make_node("MatMul", ["exact", "weight"], ["product"]),
        helper.make_node("Cast", ["product"], ["residual"], to=TensorProto.FLOAT),
    ]
    residual = helper.make_tensor_value_info("residual", TensorProto.FLOAT, ("rows", 3))
    graph = helper.make_graph(nodes, "unsupported_rows", inputs, [residual], [weight])
    opset = helper.make_opsetid("", 20)
    model: bytes = helper.make_model(
        graph, opset_imports=[opset], ir_version=10
    ).SerializeToString()
    return model
