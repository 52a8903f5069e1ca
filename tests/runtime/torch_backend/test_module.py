"""Whole exported graphs as PyTorch modules, against ONNX Runtime."""

import itertools
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, BundleError
from pcsr.export.graphs.onnx_graph import export_graph, graph_sources
from pcsr.models import PlainNetwork, make_backbone
from pcsr.runtime.torch_backend.module import OnnxModule
from tests import checkpoints

from . import made

GRAPH = 1e-5  # float32 sums of some 1,000 products, layer upon layer, in another order
FP16 = 1e-2  # of values about 1, after tens of layers of 11 bits
BF16 = 8e-2  # the same with 8 bits
PLAIN: dict[str, dict[str, Any]] = {
    "carn": {**checkpoints.BACKBONES["carn"], "scale": 4},
    "srresnet": {**checkpoints.BACKBONES["srresnet"], "upscale": 4},
    "imdn": {"nf": 20, "nb": 1, "scale": 3},
}
BUNDLES = ["carn_like_bundle", "three_way_bundle", "single_bundle", "plain_bundle"]


def inputs_of(bundle: Bundle, role: str, rows: int = 37) -> dict[str, made.Array]:
    random = np.random.default_rng(0)
    if role in ("backbone", "network"):
        return {"image": random.random((1, 3, 11, 14), dtype=np.float32)}
    width = int(bundle.graphs("fp32")[role].inputs[0].shape[1])
    return {
        "features": random.normal(size=(20, width)).astype(np.float32),
        "index": random.integers(0, 20, rows, dtype=np.int32),
        "offset": random.uniform(-1, 1, (rows, 2)).astype(np.float32),
        "cell": np.array([0.5, 0.6], np.float32),
    }


def run(model: bytes, inputs: Mapping[str, made.Array]) -> list[torch.Tensor]:
    module = OnnxModule(model)
    assert module.inputs == tuple(inputs)
    return [*module(*made.tensors(inputs))]


@pytest.mark.parametrize("name", BUNDLES)
def test_every_graph_of_a_bundle(name: str, request: pytest.FixtureRequest) -> None:
    bundle = Bundle.load(request.getfixturevalue(name))
    for role in bundle.graphs("fp32"):
        model, inputs = bundle.graph_bytes(role), inputs_of(bundle, role)
        expected = made.by_onnxruntime(model, inputs)
        assert made.largest_difference(run(model, inputs), expected) <= GRAPH, role


@pytest.mark.parametrize("name", PLAIN)
def test_plain_networks(name: str) -> None:
    torch.manual_seed(0)
    backbone = make_backbone(name, {**PLAIN[name], "no_upsampling": False})
    network = PlainNetwork(backbone, 4, (0.4, 0.5, 0.6), (1.0, 0.9, 1.1)).eval()
    (source,) = graph_sources(network)
    model = export_graph(source, 20).SerializeToString()
    inputs = {"image": np.random.default_rng(0).random((1, 3, 9, 13), dtype=np.float32)}
    expected = made.by_onnxruntime(model, inputs)
    assert made.largest_difference(run(model, inputs), expected) <= GRAPH


@pytest.mark.parametrize("name", ["carn_like_bundle", "plain_bundle"])
@pytest.mark.parametrize(("precision", "loss"), [("fp16", FP16), ("bf16", BF16)])
def test_typed_graphs(
    name: str, precision: str, loss: float, request: pytest.FixtureRequest
) -> None:
    """Row maps are typed, the other ends float32."""
    kind, dtype = made.TYPES[precision]
    bundle = Bundle.load(request.getfixturevalue(name))
    for role in bundle.graphs("fp32"):
        model, inputs = bundle.graph_bytes(role), inputs_of(bundle, role)
        values = made.tensors(inputs)
        values[0] = values[0].to(dtype) if "features" in inputs else values[0]
        half = made.typed(onnx.load_model_from_string(model), kind)
        found = OnnxModule(half.SerializeToString())(*values)
        assert {value.dtype for value in found} == {dtype if role == "backbone" else torch.float32}
        expected = made.by_onnxruntime(model, inputs)
        difference = made.largest_difference([value.float() for value in found], expected)
        assert 0 < difference <= loss, role


def test_rows_without_pixels(carn_like_bundle: Path) -> None:
    bundle = Bundle.load(carn_like_bundle)
    (found,) = run(bundle.graph_bytes("upsampler_0"), inputs_of(bundle, "upsampler_0", 0))
    assert found.shape == (0, 3)


def test_only_wanted_outputs_are_computed(carn_like_bundle: Path) -> None:
    bundle = Bundle.load(carn_like_bundle)
    model, inputs = bundle.graph_bytes("backbone"), inputs_of(bundle, "backbone")
    whole, part = OnnxModule(model), OnnxModule(model, outputs=["features"])
    assert len(whole.outputs) == 4
    assert part.outputs == ("features",)
    weights = [[v for v in m.constants.values() if v.is_floating_point()] for m in (whole, part)]
    assert len(weights[1]) == len(weights[0]) - 3  # three MLPs' first layers
    (found,) = part(*made.tensors(inputs))
    assert torch.equal(found, whole(*made.tensors(inputs))[0])
    with pytest.raises(BackendError, match=r"no output depth .it has: features, classifier_f"):
        OnnxModule(model, outputs=["depth"])


def test_inputs_are_left_alone(carn_like_bundle: Path) -> None:
    bundle = Bundle.load(carn_like_bundle)
    module = OnnxModule(bundle.graph_bytes("backbone"))
    (image,) = made.tensors(inputs_of(bundle, "backbone"))
    before = image.clone()
    first = module(image)
    assert torch.equal(image, before)
    assert all(map(torch.equal, first, module(image)))


def test_tensors_are_freed_after_their_last_use() -> None:
    """Ten sums one after another, each of another tensor: two at a time are alive."""
    names = [f"value_{index}" for index in range(11)]
    nodes = [helper.make_node("Sigmoid", [a], [b]) for a, b in itertools.pairwise(names)]
    inputs = {names[0]: np.zeros((4, 4), np.float32)}
    module = OnnxModule(made.model_of(nodes, inputs, {}, names[-1:]).SerializeToString())
    alive: list[int] = []
    seen: list[weakref.ref[torch.Tensor]] = []
    sigmoid = torch.sigmoid

    def watched(x: torch.Tensor) -> torch.Tensor:
        alive.append(sum(ref() is not None for ref in seen))
        result = sigmoid(x)
        seen.append(weakref.ref(result))
        return result

    for step in module._steps:
        object.__setattr__(step, "function", watched)
    module(*made.tensors(inputs))
    assert len(alive) == 10
    assert max(alive) == 1


def test_what_is_no_model() -> None:
    with pytest.raises(BundleError, match="not an ONNX model"):
        OnnxModule(b"\xff\xffnothing")


def test_a_missing_onnx_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(BackendError, match="run pip install onnx"):
        OnnxModule(b"")
