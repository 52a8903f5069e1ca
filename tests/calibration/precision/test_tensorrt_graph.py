import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from pcsr.calibration.precision.tensorrt_graph import tensorrt_graph
from pcsr.runtime.onnxruntime_session import SETTINGS
from pcsr.runtime.tensorrt.build import BuildOptions, build_plan
from pcsr.runtime.tensorrt.library import Library, load_library
from pcsr.runtime.tensorrt.profiles import ShapeProfile
from pcsr.runtime.tensorrt.target import PORTABLE, Target

from .nets import Net, image, kinds, ranges_of, run

PROFILE = ShapeProfile((1, 1), (16, 16), (32, 32))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    load_library.cache_clear()
    yield load_library()
    load_library.cache_clear()


def network() -> onnx.ModelProto:
    net = Net().conv("image", "a", 3).conv("a", "b", group=2).add("Relu", ["b"], "rb")
    net.conv("rb", "c").add("Add", ["a", "c"], "s").add("Concat", ["s", "rb"], "j", axis=1)
    return net.conv("j", "d", inputs=16, size=1).conv("d", "out", outputs=3).build()


CHOSEN = ["node_b", "node_c", "node_d"]


def makers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def scales(model: onnx.ModelProto) -> dict[str, Any]:
    weights = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    quantisers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    return {node.input[0]: weights[node.input[1]] for node in quantisers}


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_what_chosen_layers_read_is_quantised_and_nothing_else(precision: str) -> None:
    """Not what they make: sums read float32, and biases stay as they are."""
    model, x = network(), image()
    quantised = tensorrt_graph(model, ranges_of(model, x), CHOSEN, precision)
    made = makers(quantised)
    for node in quantised.graph.node:
        sources = [made[name].op_type if name in made else "" for name in node.input]
        if node.op_type == "Conv":
            expected = "DequantizeLinear" if node.name in CHOSEN else ""
            assert sources[1:] == [expected, ""]
            assert (sources[0] == "DequantizeLinear") == (node.name in CHOSEN)
        elif node.op_type != "DequantizeLinear":
            assert "DequantizeLinear" not in sources


def test_scales_are_symmetric_and_cover_the_ranges() -> None:
    model, x = network(), image()
    ranges = ranges_of(model, x)
    found = scales(tensorrt_graph(model, ranges, CHOSEN, "int8"))
    assert found["a"] == pytest.approx(max(map(abs, ranges["a"])) / 127)
    weight = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}["c.w"]
    np.testing.assert_allclose(
        found["c_rounded_weight"], np.abs(weight).max(axis=(1, 2, 3)) / 127, rtol=1e-6
    )
    fp8 = scales(tensorrt_graph(model, ranges, CHOSEN, "fp8"))
    np.testing.assert_allclose(fp8["a"] * 448, found["a"] * 127, rtol=1e-6)


@pytest.mark.parametrize(("precision", "most"), [("int8", 0.05), ("fp8", 0.2)])
def test_it_computes_nearly_the_same(precision: str, most: float) -> None:
    model, x = network(), image()
    quantised = tensorrt_graph(model, ranges_of(model, x), CHOSEN, precision)
    expected = run(model, x)
    difference = np.abs(run(quantised, x, SETTINGS) - expected).max()
    assert 0 < difference < most * np.abs(expected).max()


def test_without_layers_nothing_changes() -> None:
    model = network()
    assert kinds(tensorrt_graph(model, {}, [], "int8")) == kinds(model)


@pytest.mark.parametrize(
    ("precision", "capability"),
    [("int8", ()), ("int8", ("8.0",)), ("int8", ("8.9",)), ("fp8", ("8.9",))],
)
def test_tensorrt_rtx_builds_it(
    library: Library, precision: str, capability: tuple[str, ...]
) -> None:
    model, x = network(), image()
    quantised = tensorrt_graph(model, ranges_of(model, x), CHOSEN, precision)
    data = quantised.SerializeToString()
    target = Target(PORTABLE, capability)
    plan = build_plan(library, data, "backbone", PROFILE, BuildOptions(), target)
    assert len(plan) > 1000


def test_the_default_settings_of_the_quantiser_would_not_build(library: Library) -> None:
    """An int32 bias behind a DequantizeLinear, as it writes it: why ours stays float32."""
    model, x = network(), image()
    quantised = tensorrt_graph(model, ranges_of(model, x), CHOSEN, "int8")
    graph = quantised.graph
    bias = np.zeros(8, np.int32)
    graph.initializer.append(numpy_helper.from_array(bias, "bias"))
    graph.initializer.append(numpy_helper.from_array(np.ones(8, np.float32), "bias_scale"))
    graph.node.insert(
        0, helper.make_node("DequantizeLinear", ["bias", "bias_scale"], ["b32"], axis=0)
    )
    next(node for node in graph.node if node.name == "node_c").input[2] = "b32"
    with pytest.raises(Exception, match=r"(?i)bias|int32|DequantizeLinear"):
        build_plan(
            library,
            quantised.SerializeToString(),
            "backbone",
            PROFILE,
            BuildOptions(),
            Target(PORTABLE, ()),
        )
