"""The convolutions in 8-bit integers: the codes of ONNX Runtime, bit for bit."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pcsr.runtime.cpu.convolutions.integer_graph import read_integer_network
from pcsr.runtime.cpu.convolutions.integer_layers import IntegerLayer, in_digits
from pcsr.runtime.cpu.convolutions.integer_program import (
    IntegerProgram,
    has_integer_instructions,
)
from pcsr.runtime.cpu.convolutions.layers import Unsupported
from pcsr.runtime.cpu.convolutions.runner import ConvolutionRunner

Array = NDArray[Any]
pytestmark = pytest.mark.skipif(
    not has_integer_instructions(), reason="this processor has no AVX-512 with VNNI"
)
SIZES = ((1, 1), (1, 40), (40, 1), (2, 3), (7, 25), (13, 101))


class Codes:
    """A graph whose image becomes codes exactly, and whose features are codes.

    The image holds whole 256ths; its layer is of 1x1 and takes them times powers of two.
    """

    def __init__(self, channels: int, zero: int = 7, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        weight = 2.0 ** self.random.integers(-2, 2, (channels, 3, 1, 1))
        weight *= self.random.choice([-1, 1, 0], weight.shape)
        floats = self.node("Conv", "image", self.weight(weight.astype(np.float32)))
        last = self.node("Transpose", floats, perm=[0, 2, 3, 1])
        self.first = self.node("QuantizeLinear", last, *self.code(1 / 64, zero))
        self.zeros, self.channels = {self.first: zero}, {self.first: channels}

    def weight(self, values: Any) -> str:  # noqa: ANN401
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def code(self, step: float, zero: int) -> list[str]:
        return [self.weight(np.float32(step)), self.weight(np.uint8(zero))]

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [*inputs], [name], **attributes))
        return name

    def join(self, *parts: str) -> str:
        name = self.node("Concat", *parts, axis=3)
        self.channels[name] = sum(self.channels[part] for part in parts)
        self.zeros[name] = 0
        return name

    def convolution(
        self,
        value: str,
        outputs: int,
        kernel: int = 3,
        groups: int = 1,
        zero: int = 0,
        loud: float = 1.0,
        **changes: Any,  # noqa: ANN401
    ) -> str:
        inputs = self.channels[value]
        weight = self.random.integers(-127, 128, (outputs, inputs, kernel, kernel)).astype(np.int8)
        group = np.arange(inputs) * groups // inputs
        weight[(np.arange(outputs) * groups // outputs)[:, None] != group] = 0
        reach = np.sqrt(inputs / groups) * kernel * 127 * 80
        bias = (self.random.normal(size=outputs) * reach).astype(np.int32)
        scale = (self.random.uniform(0.5, 2, outputs) * loud / reach * 150).astype(np.float32)
        attributes = {"channels_last": 1, "pads": [kernel // 2] * 4, "domain": "com.microsoft"}
        found = self.node(
            "QLinearConv",
            value,
            *self.code(0.3, self.zeros[value]),
            self.weight(weight),
            self.weight(scale),
            self.weight(np.zeros(outputs, np.int8)),
            *self.code(0.3, zero),
            self.weight(bias),
            **attributes | changes,
        )
        self.channels[found], self.zeros[found] = outputs, zero
        return found

    def model(self, value: str, weight: Array | None = None) -> onnx.ModelProto:
        if weight is None:
            weight = np.eye(self.channels[value], dtype=np.float32)
        floats = self.node("Cast", value, to=TensorProto.FLOAT)
        product = self.node("MatMul", floats, self.weight(weight))
        bias = np.zeros(weight.shape[1], np.float32)
        last = self.node("Add", product, self.weight(bias))
        self.nodes.append(helper.make_node("Transpose", [last], ["features"], perm=[0, 3, 1, 2]))
        ends = [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, "c", "h", "w"]),
        ]
        graph = helper.make_graph(self.nodes, "codes", ends[:1], ends[1:], self.weights)
        domains = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=10)


def photo(height: int, width: int, seed: int = 0) -> Array:
    whole = np.random.default_rng(seed).integers(0, 257, (1, 3, height, width))
    return (whole / 256).astype(np.float32)


def runner_of(model: onnx.ModelProto, threads: int = 1) -> ConvolutionRunner:
    program = IntegerProgram(read_integer_network(model, "features"))
    return ConvolutionRunner("backbone", "features", program, threads)


def computed(runner: ConvolutionRunner, image: Array) -> Array:
    return np.rint(runner.run_image("backbone", image, ("features",))[0])


def expected(model: onnx.ModelProto, image: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    found: Array = session.run(None, {"image": image})[0]
    return found


def assert_equal(model: onnx.ModelProto, *size: int, threads: int = 1) -> Array:
    image = photo(*size)
    want = expected(model, image)
    np.testing.assert_array_equal(computed(runner_of(model, threads), image), want)
    return want


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "groups"),
    [
        (16, 16, 1, 1),
        (64, 64, 3, 4),
        (64, 52, 1, 1),
        (24, 40, 3, 1),
        (20, 10, 5, 1),
        (12, 24, 3, 2),
        (24, 24, 3, 3),
        (8, 8, 3, 8),
        (33, 33, 7, 33),
        (1, 1, 3, 1),
    ],
)
def test_codes_are_those_of_onnx_runtime(
    size: tuple[int, int], inputs: int, outputs: int, kernel: int, groups: int
) -> None:
    codes = Codes(inputs)
    want = assert_equal(codes.model(codes.convolution(codes.first, outputs, kernel, groups)), *size)
    assert want.size < 2000 or len(np.unique(want)) > 20


@pytest.mark.parametrize("zero", [0, 1, 128, 255])
@pytest.mark.parametrize("loud", [0.02, 1.0, 40.0])
def test_zeros_and_saturation(zero: int, loud: float) -> None:
    """What lies outside of the image is the zero of what is read."""
    codes = Codes(32, zero=200)
    middle = codes.convolution(codes.first, 32, zero=zero, loud=loud)
    want = assert_equal(codes.model(codes.convolution(middle, 16)), 9, 30)
    assert len(np.unique(want)) > 20


def test_joined_codes_of_several_zeros() -> None:
    codes = Codes(16, zero=90)
    one = codes.convolution(codes.first, 40, zero=30)
    two = codes.convolution(codes.join(codes.first, one), 32, kernel=1)
    model = codes.model(codes.convolution(codes.join(one, two, codes.first), 48, kernel=1))
    assert_equal(model, 11, 37)


def deep() -> onnx.ModelProto:
    codes = Codes(32, zero=100)
    value = codes.first
    for groups in (2, 1, 4, 1):
        value = codes.join(codes.convolution(value, 32, groups=groups), codes.first)
        value = codes.convolution(value, 32, kernel=1)
    return codes.model(value)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_change_nothing(threads: int) -> None:
    assert_equal(deep(), 50, 211, threads=threads)
    assert_equal(deep(), 3, 1003, threads=threads)


def test_a_runner_takes_one_size_after_another() -> None:
    model = deep()
    runner = runner_of(model, 2)
    for size in ((30, 40), (5, 200), (30, 40), (1, 1)):
        image = photo(*size)
        np.testing.assert_array_equal(computed(runner, image), expected(model, image))


def test_cuts_change_nothing() -> None:
    """Rows of an image with a halo give what the whole image gives there, bit for bit."""
    runner, image = runner_of(deep(), 2), photo(60, 70)
    (whole,) = runner.run_image("backbone", image, ("features",))
    cut = np.ascontiguousarray(image[:, :, 20:50, 10:60])
    (part,) = runner.run_image("backbone", cut, ("features",))
    halo = 4
    np.testing.assert_array_equal(part[:, :, halo:-halo, halo:-halo], whole[:, :, 24:46, 14:56])


@pytest.mark.parametrize("outputs", [3, 16, 20, 52])
def test_the_last_layer_is_nearly_that_of_float32(outputs: int) -> None:
    codes = Codes(40)
    weight = codes.random.normal(size=(40, outputs)).astype(np.float32)
    model, image = codes.model(codes.first, weight), photo(9, 33)
    (found,) = runner_of(model).run_image("backbone", image, ("features",))
    want = expected(model, image)
    assert np.abs(found - want).max() < 1e-4 * np.abs(want).max()


def test_two_whole_numbers_stand_for_a_weight() -> None:
    weight = np.random.default_rng(0).normal(size=(20, 30, 1, 1)).astype(np.float32)
    layer = in_digits(IntegerLayer((0,), weight, np.zeros(20, np.float32)))
    digits = layer.weight.reshape(2, 2, 16, 30).astype(np.float64)
    sums = (digits * layer.scale.reshape(2, 2, 16, 1)).sum(axis=1).reshape(32, 30)[:20]
    rows = np.abs(weight[:, :, 0, 0]).max(axis=1, keepdims=True)
    assert (np.abs(sums - weight[:, :, 0, 0]) <= 1.6e-5 * rows).all()


def refused(model: onnx.ModelProto, match: str) -> None:
    with pytest.raises(Unsupported, match=match):
        read_integer_network(model, "features")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"channels_last": 0}, "channels first"),
        ({"strides": [2, 2]}, "strides"),
        ({"dilations": [2, 2]}, "dilations"),
        ({"pads": [0, 0, 0, 0]}, "pads"),
        ({"group": 2}, "group"),
    ],
)
def test_other_convolutions_are_refused(changes: dict[str, Any], match: str) -> None:
    codes = Codes(16)
    refused(codes.model(codes.convolution(codes.first, 16, **changes)), match)


def test_other_operators_are_refused() -> None:
    codes = Codes(16)
    one = codes.convolution(codes.first, 16)
    parts = [one, *codes.code(0.3, 0), codes.first, *codes.code(0.3, 0), *codes.code(0.3, 0)]
    total = codes.node("QLinearAdd", *parts, domain="com.microsoft")
    codes.channels[total] = 16
    refused(codes.model(total), "QLinearAdd")


def test_features_that_are_no_float32_layer_are_refused() -> None:
    codes = Codes(16)
    model = codes.model(codes.first)
    del model.graph.node[-4:]
    floats = helper.make_node("Transpose", [codes.first], ["features"], perm=[0, 3, 1, 2])
    model.graph.node.append(floats)
    refused(model, "perm")
