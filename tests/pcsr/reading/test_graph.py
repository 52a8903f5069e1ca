"""Graphs: what they may hold, and what their values take."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pcsr.reading.graph import MOST_NODES, read_graph_shapes
from pcsr.reading.roles import IMAGE_LIMITS, check_rows
from pcsr.reading.wire import count_fields

Nodes = Sequence[onnx.NodeProto]
Weights = dict[str, object]
node = helper.make_node


def model(nodes: Nodes, weights: Weights | None = None, opset: int = 20) -> onnx.ModelProto:
    """A graph of `image` [1, 3, h, w] to `y`."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, "h", "w"))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    made = [numpy_helper.from_array(np.asarray(v), name) for name, v in (weights or {}).items()]
    graph = helper.make_graph(nodes, "graph", [image], [y], made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def shape_of_y(
    nodes: Nodes, weights: Weights | None = None, size: tuple[int, int] = (8, 10)
) -> object:
    shapes = read_graph_shapes(model(nodes, weights).SerializeToString())
    pixels = size[0] * size[1]
    return shapes.estimate({"image": (1, 3, *size)}, pixels, IMAGE_LIMITS).outputs["y"]


def refuse(nodes: Nodes, reason: str, weights: Weights | None = None) -> None:
    with pytest.raises(ValueError, match=reason):
        shape_of_y(nodes, weights, (16, 16))


I64, F32 = np.int64, np.float32
CONV = np.zeros((7, 3, 3, 3), F32)
SHAPES: dict[str, tuple[Nodes, Weights, tuple[int, ...]]] = {
    "conv": ([node("Conv", ["image", "w"], ["y"], pads=[1, 1, 1, 1])], {"w": CONV}, (1, 7, 8, 10)),
    "strides": ([node("Conv", ["image", "w"], ["y"], strides=[2, 3])], {"w": CONV}, (1, 7, 3, 3)),
    "transposed": (
        [
            node(
                "ConvTranspose",
                ["image", "w"],
                ["y"],
                strides=[4, 4],
                pads=[3, 3, 3, 3],
                output_padding=[1, 1],
            )
        ],
        {"w": np.zeros((3, 5, 9, 9), F32)},
        (1, 5, 32, 40),
    ),
    "linear": (
        [node("Resize", ["image", "", "s"], ["y"])],
        {"s": np.array([1, 1, 2, 2.5], F32)},
        (1, 3, 16, 25),
    ),
    "rows": (
        [node("Reshape", ["image", "s"], ["r"]), node("Transpose", ["r"], ["y"], perm=[1, 0])],
        {"s": np.array([3, -1], I64)},
        (80, 3),
    ),
    "shape-arithmetic": (
        [
            node("Shape", ["image"], ["s"]),
            node("Gather", ["s", "two"], ["h"]),
            node("Mul", ["h", "two"], ["d"]),
            node("Unsqueeze", ["d", "zero"], ["e"]),
            node("Expand", ["one", "e"], ["y"]),
        ],
        {"two": np.array(2, I64), "zero": np.array([0], I64), "one": np.array([1], F32)},
        (16,),
    ),
    "slice": (
        [node("Slice", ["image", "a", "b", "axes"], ["y"])],
        {"a": np.array([1], I64), "b": np.array([2**62], I64), "axes": np.array([3], I64)},
        (1, 3, 8, 9),
    ),
    "vector": (
        [node("MatMul", ["v", "w"], ["m"]), node("Add", ["m", "image"], ["y"])],
        {"v": np.zeros(2, F32), "w": np.zeros((2, 1), F32)},
        (1, 3, 8, 10),
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_shapes_are_those_of_onnx(case: str) -> None:
    nodes, weights, expected = SHAPES[case]
    assert shape_of_y(nodes, weights) == expected
    session = pytest.importorskip("onnxruntime").InferenceSession(
        model(nodes, weights).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert session.run(None, {"image": np.zeros((1, 3, 8, 10), F32)})[0].shape == expected


REFUSED: dict[str, tuple[Nodes, Weights, str]] = {
    "unknown": ([node("NonZero", ["image"], ["y"])], {}, "operator 'NonZero'"),
    "foreign": ([node("Relu", ["image"], ["y"], domain="custom")], {}, "operator 'custom::Relu'"),
    "engine": (
        [
            node(
                "EPContext",
                ["image"],
                ["y"],
                domain="com.microsoft",
                ep_cache_context="/etc/passwd",
            )
        ],
        {},
        "EPContext",
    ),
    "expand": (
        [node("Expand", ["image", "s"], ["y"])],
        {"s": np.array([10**9, 3, 1, 1], I64)},
        "more work than",
    ),
    "expand-by-pixels": (
        [node("Cast", ["image"], ["s"], to=7), node("Expand", ["image", "s"], ["y"])],
        {},
        "computed from pixels",
    ),
    "constant": (
        [node("Expand", ["one", "s"], ["y"])],
        {"one": np.array([1], F32), "s": np.array([2**31], I64)},
        "more work than",
    ),
    "resize": (
        [node("Resize", ["image", "", "s"], ["y"])],
        {"s": np.array([1, 1, 1e6, 1], F32)},
        "by",
    ),
    "pad": (
        [node("Pad", ["image", "p"], ["y"])],
        {"p": np.array([0, 0, 10**6, 0, 0, 0, 0, 0], I64)},
        "Pad does not fit",
    ),
    "pads": (
        [node("Conv", ["image", "w"], ["y"], pads=[10**9] * 4)],
        {"w": CONV},
        "pads out of range",
    ),
    "dilations": (
        [node("Conv", ["image", "w"], ["y"], dilations=[0, 1])],
        {"w": CONV},
        "dilations out of range",
    ),
    "strides": (
        [node("ConvTranspose", ["image", "w"], ["y"], strides=[10**6, 1])],
        {"w": np.zeros((3, 1, 1, 1), F32)},
        "strides or dilations out of range",
    ),
    "kernel": (
        [node("Conv", ["image", "w"], ["y"], pads=[99] * 4)],
        {"w": np.zeros((1, 3, 99, 99), F32)},
        "a kernel of",
    ),
    "cycle": (
        [node("Relu", ["y"], ["x"]), node("Relu", ["x"], ["y"])],
        {},
        "before it is computed",
    ),
    "twice": ([node("Relu", ["image"], ["y"]), node("Tanh", ["image"], ["y"])], {}, "twice"),
    "wrapped": (
        [node("Mul", ["s", "s"], ["t"]), node("Expand", ["image", "t"], ["y"])],
        {"s": np.array([2**62, 4], I64)},
        "Mul does not fit",
    ),
    "three-sizes": (
        [node("Add", ["s", "s", "s"], ["t"]), node("Expand", ["image", "t"], ["y"])],
        {"s": np.array([1], I64)},
        "Add does not fit",
    ),
    "squeezed-nothing": ([node("Squeeze", ["", "s"], ["y"])], {"s": np.array([0], I64)}, "fit"),
    "reduced-nothing": ([node("ReduceMean", [""], ["y"])], {}, "ReduceMean does not fit"),
    "many-axes": (
        [node("Gather", [f"x{i}" if i else "w", "w"], [f"x{i + 1}"]) for i in range(9)]
        + [node("Relu", ["x9"], ["y"])],
        {"w": np.zeros((1,) * 8, F32)},
        "Gather does not fit",
    ),
    "deep": (
        [node("Relu", [f"x{i}" if i else "image"], [f"x{i + 1}"]) for i in range(MOST_NODES)]
        + [node("Relu", [f"x{MOST_NODES}"], ["y"])],
        {},
        f"nodes, more than {MOST_NODES}",
    ),
}


def test_a_product_of_all_pixels_with_all_is_refused_for_images_where_it_is_large() -> None:
    nodes = [
        node("Reshape", ["image", "a"], ["c"]),
        node("Reshape", ["image", "b"], ["r"]),
        node("MatMul", ["c", "r"], ["y"]),
    ]
    weights: Weights = {"a": np.array([-1, 1], I64), "b": np.array([1, -1], I64)}
    assert shape_of_y(nodes, weights, (8, 8)) == (192, 192)
    with pytest.raises(ValueError, match=r"MatMul is more work|MatMul gives"):
        shape_of_y(nodes, weights, (256, 256))


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    nodes, weights, reason = REFUSED[case]
    refuse(nodes, reason, weights)


def relu() -> onnx.ModelProto:
    return model([node("Add", ["image", "w"], ["y"])], {"w": np.zeros(1, F32)})


def external(made: onnx.ModelProto) -> None:
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")


def external_constant(made: onnx.ModelProto) -> None:
    weight = made.graph.initializer.pop()
    constant = node("Constant", [], ["w"], value=weight)
    constant.attribute[0].t.data_location = TensorProto.EXTERNAL
    constant.attribute[0].t.external_data.add(key="location", value="secret")
    made.graph.node.insert(0, constant)


def odd_constant(made: onnx.ModelProto) -> None:
    constant = node("Constant", [], ["w"], value=made.graph.initializer.pop())
    constant.attribute[0].type = onnx.AttributeProto.INT
    made.graph.node.insert(0, constant)


def in_memory(made: onnx.ModelProto) -> None:
    made.graph.initializer[0].external_data.add(key="location", value="*/_ORT_MEM_ADDR_/*")


def branch(made: onnx.ModelProto) -> None:
    made.graph.node[0].attribute.add(name="body", type=5).g.name = "inner"


SPOILED = {
    "external": (external, "external_data|data_location"),
    "external-constant": (external_constant, "external_data|data_location"),
    "odd-constant": (odd_constant, "Constant has a tensor as attribute"),
    "in-memory": (in_memory, "external_data"),
    "branch": (branch, " g in a AttributeProto"),
    "function": (lambda m: m.functions.add(name="f", domain="d"), "functions"),
    "training": (lambda m: m.training_info.add(), "training_info"),
    "sparse": (lambda m: m.graph.sparse_initializer.add(), "sparse_initializer"),
    "opset": (
        lambda m: m.opset_import.add(domain="ai.onnx.ml", version=3),
        "opset 3 of 'ai.onnx.ml'",
    ),
    "old-opset": (lambda m: setattr(m.opset_import[0], "version", 7), "opset 7"),
    "dims": (lambda m: m.graph.initializer[0].dims.append(2**40), "damaged"),
    "negative-dims": (lambda m: m.graph.initializer[0].dims.append(-1), "shape"),
    "weight-as-input": (lambda m: m.graph.input.add(name="w"), "twice"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_a_graph_may_not_hold(case: str) -> None:
    change, reason = SPOILED[case]
    made = relu()
    change(made)
    with pytest.raises(ValueError, match=reason):
        read_graph_shapes(made.SerializeToString())


def test_fields_that_are_not_known_are_refused() -> None:
    data = relu().SerializeToString() + bytes([0xA2, 0x06, 1, 0])  # field 100
    with pytest.raises(ValueError, match="field 100 of ModelProto is not known"):
        read_graph_shapes(data)


def test_a_million_empty_messages_are_refused() -> None:
    nodes = bytes([0x0A, 0]) * 1_000_000
    graph = bytes([0x3A, *_varint(len(nodes))]) + nodes
    with pytest.raises(ValueError, match="too many"):
        count_fields(graph, onnx.ModelProto.DESCRIPTOR)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_cut_file_is_refused(share: float) -> None:
    data = relu().SerializeToString()
    with pytest.raises(ValueError, match=r"damaged|ends in the middle|opset|does not compute"):
        read_graph_shapes(data[: int(share * len(data))])


def test_rows_have_few_operators() -> None:
    shapes = read_graph_shapes(model([node("Tanh", ["image"], ["y"])]).SerializeToString())
    with pytest.raises(ValueError, match="operator Tanh, which graphs of rows do not have"):
        check_rows(shapes, 8, "y", 3)


def _varint(value: int) -> list[int]:
    found = []
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return [*found, value]
