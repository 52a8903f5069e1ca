"""The precision of an engine's layers: read from both forms of the inspector's JSON, and judged.

The forms are those of NVIDIA's documents ("Engine Inspector" of 10.16, "Migrating IEngineInspector
Usage from TensorRT 10.x to 11.x"); a GPU has not written them here.
"""

import json
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from pcsr import Bundle, EngineError
from pcsr.runtime.tensorrt import building
from pcsr.runtime.tensorrt.inspection import (
    count_precisions,
    inspect_engine,
    read_layers,
    refuse_other_precision,
    requested_precisions,
)
from pcsr.runtime.tensorrt.library import Library
from pcsr.runtime.tensorrt.plans import kept_folders
from pcsr.runtime.tensorrt.profiles import ShapeProfile, Shapes
from pcsr.runtime.tensorrt.store import BuildRequest, build_engines
from pcsr.runtime.tensorrt.target import LocalGpu
from tests import checkpoints
from tests.exports import ALL_PRECISIONS, Exports

SMALL = BuildRequest(Shapes((1, 1), (8, 8), (16, 16)))
HALF_OF_10 = "Channel major FP16 format where channel % 8 == 0"
REQUESTED = {"first": "fp16", "middle": "fp16", "last": "fp16"}
Layer = dict[str, Any]


def tensor(name: str, precision: str, version: int) -> Layer:
    """A tensor as TensorRT 10 and 11 describe it."""
    kind = {"fp16": "Half", "fp32": "Float", "bf16": "BFloat16", "int8": "Int8"}[precision]
    place = {"Name": name, "Location": "Device", "Dimensions": [1, 8, 16, 16]}
    if version == 10:
        sentences = {"fp16": HALF_OF_10, "fp32": "Row major linear FP32"}
        return place | {"Format/Datatype": sentences.get(precision, kind)}
    return place | {"Format": "Channel major HWC8 format (kHWC8)", "Datatype": kind}


def layer(node: str, inputs: str, outputs: str, version: int, ends: str = "t") -> Layer:
    """A layer that was made from one node of the graph."""
    ins = [tensor("image" if "i" in ends else "before", inputs, version)]
    outs = [tensor("features" if "o" in ends else "behind", outputs, version)]
    return {
        "Name": f"{node} + node_relu",
        "LayerType": "CaskConvolution",
        "Inputs": ins,
        "Outputs": outs,
        "Metadata": f"[ONNX Layer: {node}]\x1e[ONNX Layer: node_relu]",
    }


def information(layers: list[Any], version: int) -> str:
    names = ("image", "features")
    ends: Layer = {"Bindings": list(names)}
    if version == 11:
        ends = {"I/O Tensors": [{"Name": name, "DataType": "Float"} for name in names]}
    reformat = {"Name": "Reformatting CopyNode", "LayerType": "Reformat", "Inputs": []}
    return json.dumps({"Layers": [*layers, reformat], **ends})


@pytest.mark.parametrize("version", [10, 11])
def test_an_engine_as_the_graph_asks_for(version: int) -> None:
    layers = [
        layer("first", "fp32", "fp16", version, "i"),
        layer("middle", "fp16", "fp16", version),
        layer("last", "fp16", "fp32", version, "o"),
    ]
    found = read_layers(information(layers, version), REQUESTED)
    assert count_precisions(found) == {"fp16": 3}
    refuse_other_precision("backbone", found)


@pytest.mark.parametrize("version", [10, 11])
def test_an_engine_in_float32_is_refused(version: int) -> None:
    layers = [
        layer("first", "fp32", "fp32", version, "i"),
        layer("middle", "fp32", "fp32", version),
        layer("last", "fp32", "fp32", version, "o"),
    ]
    found = read_layers(information(layers, version), REQUESTED)
    assert count_precisions(found) == {"fp32": 3}
    with pytest.raises(EngineError) as caught:
        refuse_other_precision("backbone", found)
    assert str(caught.value).startswith(
        "the backbone engine computes in fp32 where its graph asks for fp16: 1 of 3 layers (middle"
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("asked", "found"), [("bf16", "fp32"), ("int8", "fp32"), ("fp32", "fp16")])
def test_one_layer_inside_is_enough(asked: str, found: str) -> None:
    layers = [layer("first", asked, asked, 11), layer("middle", found, found, 11)]
    judged = read_layers(information(layers, 11), dict.fromkeys(("first", "middle"), asked))
    with pytest.raises(EngineError, match=f"computes in {found} .* asks for {asked}: 1 of 2"):
        refuse_other_precision("network", judged)


def test_a_layer_between_callers_tensors_may_convert_inside() -> None:
    layers = [layer("first", "fp32", "fp32", 11, "i"), layer("middle", "fp16", "fp16", 11)]
    refuse_other_precision("network", read_layers(information(layers, 11), REQUESTED))
    alone = read_layers(information(layers[:1], 11), REQUESTED)
    with pytest.raises(EngineError, match="1 of 1 layers"):
        refuse_other_precision("network", alone)
    weighted = layers[0] | {"Weights": {"Type": "Half", "Count": 27}}
    refuse_other_precision("network", read_layers(information([weighted], 11), REQUESTED))


def test_names_serve_where_there_is_no_metadata() -> None:
    fused = layer("middle", "fp32", "fp32", 10)
    del fused["Metadata"]
    (found,) = read_layers(information([fused], 10), REQUESTED)
    assert found.expected == {"fp16"}
    assert found.found == {"fp32"}


def test_what_the_inspector_does_not_tell_is_said_to_be_unknown() -> None:
    silent = layer("middle", "fp16", "fp16", 10)
    for one in (*silent["Inputs"], *silent["Outputs"]):
        one["Format/Datatype"] = "N/A due to dynamic shapes"
    found = read_layers(information([silent, "a name alone"], 10), REQUESTED)
    assert count_precisions(found) == {"unknown": 1}
    refuse_other_precision("backbone", found)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"Layers": 3}', '{"Layers": [{"Name": "a"}]'])
def test_what_is_no_information(text: str) -> None:
    with pytest.raises(EngineError, match="gives no JSON of layers that is known"):
        read_layers(text, REQUESTED)


def test_layers_that_name_no_product_of_the_graph() -> None:
    fused = information([layer("elsewhere", "fp32", "fp32", 11), "only a name"], 11)
    with pytest.raises(EngineError, match="names none of the graph's 3 products"):
        read_layers(fused, REQUESTED)


@pytest.fixture(scope="module")
def typed(exports: Exports) -> Bundle:
    """A bundle in all precisions."""
    network = checkpoints.calmed(checkpoints.pcsr_network("srresnet"))
    return Bundle.load(exports.of(checkpoints.pcsr_checkpoint(network, "srresnet"), ALL_PRECISIONS))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_what_graphs_ask_for(typed: Bundle, precision: str) -> None:
    found = requested_precisions(typed.graph_bytes("backbone", precision))
    assert len(found) == 1 + 2 * 2 + 3, "convolutions, and row maps"
    assert set(found.values()) == {precision}
    rows = requested_precisions(typed.graph_bytes("upsampler_0", precision))
    assert set(rows.values()) == {precision, "fp32"}, "positions stay float32"


# In a build, by fakes


class FakeEngine:
    """An engine on a GPU that is not there. types: of all its tensors, as TensorRT 11 says them."""

    num_io_tensors = 2
    device_memory_size_v2 = 5 << 20

    def __init__(self, library: Library, layers: list[Layer]) -> None:
        self._modes = library.trt.TensorIOMode
        self.context = Mock()
        self._inspector = Mock()
        self._inspector.get_engine_information.return_value = information(layers, 11)

    def get_tensor_name(self, index: int) -> str:
        return ("image", "upscaled")[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (1, 3, -1, -1)

    def get_tensor_mode(self, name: str) -> object:
        return self._modes.INPUT if name == "image" else self._modes.OUTPUT

    def create_execution_context(self, strategy: object) -> Mock:
        return self.context

    def create_engine_inspector(self) -> Mock:
        return self._inspector


def test_an_engine_is_inspected_at_its_usual_shape(library: Library) -> None:
    engine = FakeEngine(library, [])
    assert inspect_engine(library, engine, ShapeProfile((1, 1), (8, 9), (16, 16)))
    engine.context.set_input_shape.assert_called_once_with("image", (1, 3, 8, 9))
    assert engine.create_engine_inspector().execution_context is engine.context


def layers_of(bundle: Bundle, precision: str) -> list[Layer]:
    nodes = requested_precisions(bundle.graph_bytes("network"))
    return [layer(node, precision, precision, 11) for node in nodes]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> LocalGpu:
    found = LocalGpu("NVIDIA GeForce RTX 4090", "8.9")
    monkeypatch.setattr(building, "find_gpu", lambda device: found)
    return found


@pytest.mark.usefixtures("gpu")
def test_a_build_records_what_the_engine_says(
    plain: Bundle, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(library, layers_of(plain, "fp32"))
    monkeypatch.setattr(Library, "load", lambda *args: (engine, None))
    said: list[str] = []
    built = build_engines(plain, "fp32", SMALL, say=said.append)
    plan = built.record.plans["network"]
    count = len(requested_precisions(plain.graph_bytes("network")))
    assert plan.layer_precisions == {"fp32": count}
    assert plan.device_memory_bytes == 5 << 20
    assert plan.size_bytes == len(built.plans["network"])
    assert said[-1].endswith(f"5.0 MiB on the GPU, {count} layers fp32")


@pytest.mark.usefixtures("gpu")
def test_a_build_whose_engine_computes_in_another_precision_is_not_kept(
    plain: Bundle, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(library, layers_of(plain, "fp16"))
    monkeypatch.setattr(Library, "load", lambda *args: (engine, None))
    with pytest.raises(EngineError, match=r"network engine computes in fp16 .* asks for fp32"):
        build_engines(plain, "fp32", SMALL)
    assert list(kept_folders(plain)) == []


@pytest.mark.usefixtures("gpu")
def test_what_cannot_be_read_is_said(
    plain: Bundle, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Library, "load", lambda *args: (FakeEngine(library, []), None))
    said: list[str] = []
    built = build_engines(plain, "fp32", SMALL, say=said.append)
    assert said[-2].startswith("network: what the engine computes in was not read: TensorRT's")
    plan = built.record.plans["network"]
    assert (plan.layer_precisions, plan.device_memory_bytes) == (None, 5 << 20)


def test_without_a_gpu_it_is_said_that_nothing_was_read(
    plain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    said: list[str] = []
    built = build_engines(plain, "fp32", SMALL, say=said.append)
    assert said[-1].startswith("fp32: precision and memory of the engines were not read: device ")
    plan = built.record.plans["network"]
    assert (plan.layer_precisions, plan.device_memory_bytes) == (None, None)


def test_a_gpu_that_cannot_run_the_engines_does_not_inspect_them(
    plain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    turing = LocalGpu("NVIDIA GeForce RTX 2080", "7.5")
    monkeypatch.setattr(building, "find_gpu", lambda device: turing)
    said: list[str] = []
    build_engines(plain, "fp32", replace(SMALL, capabilities=("8.9",)), say=said.append)
    assert "were not read: the set is for portable" in said[-1]


# What is said while a build takes long


def test_a_long_build_says_every_ten_seconds_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert building.SAID_EVERY_S <= 10
    monkeypatch.setattr(building, "SAID_EVERY_S", 0.02)
    said: list[str] = []
    with building.said_while_it_takes("3/5 upsampler_0", said.append):
        while len(said) < 2:
            pass
    count = len(said)
    assert said[0] == "3/5 upsampler_0, 0 s"
    with building.said_while_it_takes("short", said.append):
        pass
    assert len(said) == count, "it stops with what it waits for"


def test_the_builder_lets_others_run(plain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """It releases Python's lock; else nothing could be said meanwhile."""
    monkeypatch.setattr(building, "SAID_EVERY_S", 0.005)
    said: list[str] = []
    build_engines(plain, "fp32", SMALL, say=said.append)
    assert [line for line in said if line.startswith("1/1 network, ")]
