"""Every operator against ONNX Runtime."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from pcsr.errors import BackendError
from pcsr.runtime.torch_backend.graph import Node, read_graph
from pcsr.runtime.torch_backend.module import OnnxModule, device_names
from pcsr.runtime.torch_backend.operators import OPERATORS

from . import made

FP32 = 2e-6  # sums of up to some 100 float32 products in another order, of the largest value
FP16 = 4e-3  # one rounding to 11 bits at the input, one per result
BF16 = 3e-2  # the same with 8 bits
REWRITTEN = {"Add_", "LeakyRelu_", "Relu_"}  # no ONNX operators: see test_rewrites.py


@dataclass(frozen=True)
class Case:
    """An operator: shapes of its float inputs, constant inputs by position, attributes."""

    op: str
    shapes: tuple[tuple[int, ...], ...]
    constants: dict[int, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    positive: bool = False

    @property
    def inputs(self) -> dict[str, made.Array]:
        random = np.random.default_rng(0)
        values = [random.normal(size=shape).astype(np.float32) for shape in self.shapes]
        return {
            f"input_{index}": np.abs(value) if self.positive else value
            for index, value in enumerate(values)
        }

    @property
    def model(self) -> onnx.ModelProto:
        free, constants, names = [*self.inputs], {}, []
        for index in range(len(self.shapes) + len(self.constants)):
            if index not in self.constants:
                names.append(free.pop(0))
            elif self.constants[index] is None:
                names.append("")
            else:
                names.append(f"constant_{index}")
                constants[names[-1]] = np.asarray(self.constants[index])
        outputs = [f"output_{index}" for index in range(self.outputs)]
        node = helper.make_node(self.op, names, outputs, name="it", **self.attributes)
        return made.model_of([node], self.inputs, constants, outputs)


def ints(*values: int) -> made.Array:
    return np.array(values, np.int64)


def floats(*shape: int) -> made.Array:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def conv(shape: tuple[int, ...], bias: bool, **attributes: Any) -> Case:  # noqa: ANN401
    constants = {1: floats(*shape)} | ({2: floats(shape[0])} if bias else {})
    channels = shape[1] * attributes.get("group", 1)
    return Case(
        "Conv", ((2, channels, 9, 7),), constants, {"kernel_shape": shape[2:], **attributes}
    )


IMAGE = (2, 8, 5, 6)
X4 = np.array([1, 1, 4, 4], np.float32)
CASES = [
    conv((6, 4, 3, 3), True, pads=[1, 1, 1, 1]),
    conv((6, 4, 3, 3), False, pads=[0, 1, 2, 1]),
    conv((8, 2, 3, 3), True, group=4, pads=[1, 1, 1, 1]),
    conv((6, 1, 3, 3), True, group=6, strides=[2, 1], dilations=[1, 2], pads=[1, 2, 1, 2]),
    conv((5, 3, 1, 1), True),
    Case("ConvTranspose", ((1, 4, 5, 6),), {1: floats(4, 3, 9, 9), 2: floats(3)},
         {"strides": [4, 4], "pads": [3, 3, 3, 3], "output_padding": [1, 1],
          "kernel_shape": [9, 9]}),
    Case("ConvTranspose", ((1, 4, 5, 6),), {1: floats(4, 2, 3, 2)},
         {"group": 2, "dilations": [2, 1], "kernel_shape": [3, 2]}),
    Case("Abs", (IMAGE,)),
    Case("Relu", (IMAGE,)),
    Case("LeakyRelu", (IMAGE,), {}, {"alpha": -0.14}),
    Case("LeakyRelu", (IMAGE,)),
    Case("PRelu", (IMAGE,), {1: floats(8, 1, 1)}),
    Case("PRelu", (IMAGE,), {1: floats(1, 1, 1)}),
    Case("PRelu", ((3, 4),), {1: floats(4)}),
    Case("Sigmoid", (IMAGE,)),
    Case("Tanh", (IMAGE,)),
    Case("Identity", (IMAGE,)),
    Case("Add", (IMAGE, (8, 1, 6))),
    Case("Sub", (IMAGE,), {1: floats(1, 8, 1, 1)}),
    Case("Mul", ((4, 1), (3,))),
    Case("Div", (IMAGE,), {1: np.array([[[3]], [[-2]]] * 4, np.float32)}),
    Case("Concat", (IMAGE, (2, 3, 5, 6)), {}, {"axis": 1}),
    Case("Concat", (IMAGE, (2, 8, 5, 1)), {}, {"axis": -1}),
    Case("Reshape", (IMAGE,), {1: ints(0, -1, 10)}),
    Case("Reshape", ((0, 3),), {1: ints(0, 3, 1)}, {"allowzero": 1}),
    Case("Flatten", (IMAGE,)),
    Case("Flatten", (IMAGE,), {}, {"axis": -1}),
    Case("Flatten", (IMAGE,), {}, {"axis": 0}),
    Case("Squeeze", ((1, 3, 1, 2),)),
    Case("Squeeze", ((1, 3, 1, 2),), {1: ints(-2)}),
    Case("Unsqueeze", ((3, 2),), {1: ints(-1, 0)}),
    Case("Transpose", (IMAGE,), {}, {"perm": [0, 2, 3, 1]}),
    Case("Transpose", ((2, 3, 4),)),
    Case("MatMul", ((2, 7, 5), (5, 3))),
    Case("Gemm", ((7, 5), (3, 5)), {2: floats(3)}, {"transB": 1}),
    Case("Gemm", ((5, 7), (5, 3), (7, 1)), {}, {"transA": 1, "alpha": 0.5, "beta": 2.0}),
    Case("Gemm", ((7, 5), (5, 3)), {}, {"alpha": 1.5}),
    Case("Gemm", ((0, 5), (5, 3)), {2: floats(3)}),
    Case("Gather", ((9, 4),), {1: np.array([3, 0, 3, 8], np.int32)}),
    Case("Gather", (IMAGE,), {1: ints(7, 1)}, {"axis": 1}),
    Case("Gather", (IMAGE,), {1: ints(4)[0]}, {"axis": 2}),
    Case("Gather", (IMAGE,), {1: ints(3, 1, 2, 0).reshape(2, 2)}, {"axis": -1}),
    Case("Gather", ((9, 4),), {1: np.zeros(0, np.int64)}),
    Case("DepthToSpace", ((2, 12, 3, 4),), {}, {"blocksize": 2, "mode": "CRD"}),
    Case("DepthToSpace", ((2, 12, 3, 4),), {}, {"blocksize": 2}),
    Case("Resize", ((1, 3, 5, 7),), {1: None, 2: X4}, {"mode": "linear"}),
    Case("Resize", ((1, 3, 5, 7),), {1: None, 2: X4},
         {"mode": "nearest", "nearest_mode": "floor",
          "coordinate_transformation_mode": "asymmetric"}),
    Case("Abs", (IMAGE,)),
    Case("Mish", (IMAGE,)),
    Case("Gelu", (IMAGE,)),
    Case("Gelu", (IMAGE,), {}, {"approximate": "tanh"}),
    Case("Pow", (IMAGE,), {1: np.array(2, np.float32)}),
    Case("Sqrt", (IMAGE,), positive=True),
    Case("InstanceNormalization", (IMAGE,), {1: floats(8), 2: floats(8)}, {"epsilon": 1e-3}),
    Case("Resize", ((1, 3, 5, 7),), {1: None, 2: None, 3: ints(1, 3, 8, 9)}, {"mode": "linear"}),
    Case("Cast", (IMAGE,), {}, {"to": TensorProto.INT32}),
    Case("Slice", (IMAGE,), {1: ints(1, -3), 2: ints(2**62, -1), 3: ints(1, 3), 4: ints(2, 1)}),
    Case("Slice", (IMAGE,), {1: ints(1), 2: ints(2)}),
    Case("Split", (IMAGE,), {}, {"axis": 1, "num_outputs": 3}, 3),
    Case("Split", (IMAGE,), {1: ints(5, 1)}, {"axis": 3}, 2),
    Case("Clip", (IMAGE,), {1: np.float32(-0.5), 2: np.float32(0.5)}),
    Case("Clip", (IMAGE,), {1: None, 2: np.float32(0.5)}),
    Case("Clip", (IMAGE,)),
    Case("ReduceMean", (IMAGE,), {1: ints(-1, 1)}, {"keepdims": 0}),
    Case("ReduceMean", (IMAGE,)),
    Case("ReduceL2", (IMAGE,), {1: ints(2, 3)}),
    Case("ReduceL2", (IMAGE,), {1: ints(1)}, {"keepdims": 0}),
    Case("Max", (IMAGE, (8, 1, 6))),
    Case("Min", (IMAGE,), {1: floats(1, 8, 1, 1)}),
    Case("MaxPool", (IMAGE,), {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    Case("MaxPool", (IMAGE,), {}, {"kernel_shape": [2, 3], "strides": [2, 1]}),
    Case("Softmax", (IMAGE,), {}, {"axis": 1}),
    Case("Softmax", (IMAGE,)),
    Case("Pad", (IMAGE,), {1: ints(0, 0, 1, 2, 0, 0, 3, 0)}),
    Case("Pad", (IMAGE,), {1: ints(0, 0, 0, 0, 0, 0, 3, 4)}, {"mode": "reflect"}),
    Case("Pad", (IMAGE,), {1: ints(0, 0, 2, 0, 0, 0, 1, 7)}, {"mode": "edge"}),
    Case("GlobalAveragePool", (IMAGE,)),
    Case("Shape", (IMAGE,)),
    Case("Shape", (IMAGE,), {}, {"start": -2}),
    Case("Expand", ((3, 1),), {1: ints(2, 1, 4)}),
]  # fmt: skip


def test_every_operator_has_a_case() -> None:
    assert {case.op for case in CASES} == OPERATORS.keys() - REWRITTEN


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_equals_onnxruntime(case: Case) -> None:
    found = OnnxModule(case.model.SerializeToString())(*made.tensors(case.inputs))
    expected = made.by_onnxruntime(case.model, case.inputs)
    assert made.largest_difference(found, expected) <= FP32


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16], ids=["fp16", "bf16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_computes_in_half_precision(case: Case, kind: int) -> None:
    if case.op in ("Cast", "Shape"):
        pytest.skip("its output is typed by itself")
    module = OnnxModule(made.typed(case.model, kind).SerializeToString())
    expected = made.by_onnxruntime(case.model, case.inputs)
    difference = made.largest_difference(module(*made.tensors(case.inputs)), expected)
    assert difference <= (FP16 if kind == TensorProto.FLOAT16 else BF16)
    exact = difference == 0 and any(array.size for array in expected)
    assert not exact, "rounding must show, or it was computed in float32"


REFUSED = [
    (Case("Erf", (IMAGE,)), "operator Erf .node 'it'"),
    (Case("Resize", (IMAGE,), {1: None, 2: X4}, {"mode": "nearest"}), "not those before"),
    (Case("Resize", (IMAGE,), {1: None, 2: X4}, {"mode": "nearest", "nearest_mode": "floor"}),
     "mode nearest and coordinate_transformation_mode = half_pixel"),
    (Case("Resize", (IMAGE,), {1: None, 2: X4}, {"mode": "cubic"}), "mode = cubic"),
    (Case("Resize", (IMAGE,), {1: None, 2: X4},
          {"mode": "linear", "coordinate_transformation_mode": "align_corners"}), "align_corners"),
    (conv((6, 4, 3, 3), True, auto_pad="SAME_UPPER"), "auto_pad = SAME_UPPER"),
    (Case("Conv", ((1, 2, 9),), {1: floats(2, 2, 3)}, {"kernel_shape": [3]}), "1 dimensions"),
    (Case("Cast", (IMAGE,), {}, {"to": TensorProto.FLOAT8E4M3FN}), "Cast to ONNX type 17"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "words"), REFUSED, ids=lambda value: getattr(value, "op", ""))
def test_refuses_what_it_does_not_know(case: Case, words: str) -> None:
    with pytest.raises(BackendError, match=f"{words}.*; use backend onnxruntime or tensorrt"):
        OnnxModule(case.model.SerializeToString())


REFUSED_AT_RUN = [
    (Case("Resize", (IMAGE,), {1: None, 2: np.array([1, 2, 4, 4], np.float32)},
          {"mode": "linear"}), "anything but height and width"),
    (Case("Slice", (IMAGE,), {1: ints(3), 2: ints(0), 3: ints(1), 4: ints(-1)}), "negative step"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "words"), REFUSED_AT_RUN, ids=["Resize", "Slice"])
def test_refuses_parameters_that_it_does_not_know(case: Case, words: str) -> None:
    module = OnnxModule(case.model.SerializeToString())
    with pytest.raises(BackendError, match=words):
        module(*made.tensors(case.inputs))


def test_refuses_shapes_that_only_the_device_knows() -> None:
    inputs = {"x": floats(2, 3), "shape": ints(3, 2)}
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], name="it")
    model = made.model_of([node], inputs, {}, ["y"])
    with pytest.raises(BackendError, match="computed from pixels"):
        OnnxModule(model.SerializeToString())


def test_arithmetic_on_shapes_stays_on_the_host() -> None:
    """Doubles the width by nearest neighbours, as exporters write it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "last"], ["width"]),
        helper.make_node("Mul", ["width", "two"], ["double"]),
        helper.make_node("Unsqueeze", ["x", "axis"], ["column"]),
        helper.make_node("Concat", ["x", "x"], ["twice"], axis=1),
        helper.make_node("Concat", ["minus", "double"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["twice", "wanted"], ["y"]),
    ]
    constants = {"last": ints(1), "two": ints(2), "axis": ints(-1), "minus": ints(-1)}
    inputs = {"x": floats(3, 5)}
    model = made.model_of(nodes, inputs, constants, ["y"])
    module = OnnxModule(model.SerializeToString())
    found = module(*made.tensors(inputs))
    assert made.largest_difference(found, made.by_onnxruntime(model, inputs)) == 0
    assert not device_names(read_graph(model.SerializeToString())) & constants.keys()


def test_constants_of_every_form() -> None:
    forms: dict[str, Any] = {"value_float": 2.0, "value_floats": [1.0, 2.0, 3.0]}
    nodes = [helper.make_node("Constant", [], [name], **{name: v}) for name, v in forms.items()]
    nodes += [
        helper.make_node("Constant", [], ["axes"], value_ints=[0]),
        helper.make_node("Mul", ["x", "value_float"], ["a"]),
        helper.make_node("Add", ["a", "value_floats"], ["b"]),
        helper.make_node("Unsqueeze", ["b", "axes"], ["y"]),
    ]
    inputs = {"x": floats(2, 3)}
    model = made.model_of(nodes, inputs, {}, ["y"])
    found = OnnxModule(model.SerializeToString())(*made.tensors(inputs))
    assert made.largest_difference(found, made.by_onnxruntime(model, inputs)) == 0


def test_a_constant_of_bfloat16_is_the_rounded_constant() -> None:
    model = made.typed(Case("Mul", ((4, 1),), {1: floats(3)}).model, TensorProto.BFLOAT16)
    (weight,) = OnnxModule(model.SerializeToString()).constants.values()
    assert torch.equal(weight, torch.from_numpy(floats(3)).bfloat16())


@pytest.mark.parametrize(("op", "expected"), [("Conv", False), ("ConvTranspose", True)])
def test_only_transposed_convolutions_are_searched_for(
    op: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    @contextmanager
    def searched(image: torch.Tensor) -> Iterator[None]:
        seen.append(image.shape)
        yield

    monkeypatch.setattr("pcsr.runtime.torch_backend.operators.searched", searched)
    node = Node(op, "it", ("x", "w"), ("y",), {"kernel_shape": (3, 3)})
    image = torch.zeros(1, 2, 5, 5)
    OPERATORS[op](node)(image, torch.zeros(2, 2, 3, 3))
    assert seen == [image.shape] * expected
