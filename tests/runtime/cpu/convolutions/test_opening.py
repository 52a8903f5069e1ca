"""Which graphs are read, and how others are refused."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from pcsr import Bundle
from pcsr.errors import BundleError
from pcsr.runtime.cpu.convolutions import Unsupported, open_convolutions, runner
from pcsr.runtime.cpu.convolutions.graph import read_network
from pcsr.runtime.cpu.convolutions.structs import has_instructions
from pcsr.runtime.cpu.onnxruntime import OnnxRuntimeRunner
from tests import checkpoints, tolerances
from tests.exports import Exports

from .networks import Graph, photo

needs_bf16 = pytest.mark.skipif(
    not has_instructions(), reason="this processor has no AVX-512 with bf16"
)


@pytest.fixture(params=["carn", "fsrcnn", "srresnet", "liif"])
def bundle(request: pytest.FixtureRequest, exports: Exports) -> Bundle:
    if request.param == "liif":
        return Bundle.load(request.getfixturevalue("liif_bundle"))
    return Bundle.load(exports.of(checkpoints.tiny(request.param, 2)))


@needs_bf16
@pytest.mark.parametrize("size", [(1, 1), (17, 40), (50, 60)])
def test_backbones_are_those_of_onnx_runtime(bundle: Bundle, size: tuple[int, int]) -> None:
    image, wanted = photo(*size), ("features",)
    (want,) = OnnxRuntimeRunner(bundle, "fp32", 1, ["backbone"]).run_image(
        "backbone", image, wanted
    )
    (found,) = open_convolutions(bundle, "backbone", "bf16", 2).run_image("backbone", image, wanted)
    assert found.shape == want.shape
    assert found.dtype == want.dtype
    gap = np.abs(found - want)
    assert gap.max() <= tolerances.NETWORK_BF16 * np.abs(want).max()


@needs_bf16
def test_it_takes_no_more_memory_than_onnx_runtime(bundle: Bundle) -> None:
    opened = open_convolutions(bundle, "backbone", "bf16", 2)
    stated = bundle.manifest.model.working_bytes_per_px
    assert opened.working_bytes((100, 400)) <= stated * 100 * 400


def refused(build: Callable[[Graph], str], match: str) -> None:
    graph = Graph()
    model = graph.model(build(graph))
    with pytest.raises(Unsupported, match=match) as found:
        read_network(model, "features")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({"strides": [2, 2]}, "Conv.*strides"),
        ({"dilations": [2, 2]}, "Conv.*dilations"),
        ({"pads": [0, 0, 0, 0]}, "Conv.*pads"),
        ({"pads": [1, 1, 1, 0]}, "Conv.*pads"),
        ({"auto_pad": "SAME_UPPER", "pads": [1, 1, 1, 1]}, "Conv.*auto_pad"),
        ({"kernel": 2}, "Conv.*weights"),
        ({"kernel": 17}, "Conv.*weights"),
        ({"groups": 3, "outputs": 9}, "Conv.*groups"),
        ({"outputs": 4097}, "Conv.*4096"),
    ],
)
def test_other_convolutions_are_refused(attributes: dict[str, Any], match: str) -> None:
    refused(lambda g: g.convolution("image", 3, **{"outputs": 8} | attributes), match)


@pytest.mark.parametrize(
    ("operator", "match"),
    [("Sigmoid", "Sigmoid"), ("GlobalAveragePool", "GlobalAveragePool"), ("Elu", "Elu")],
)
def test_other_operators_are_named(operator: str, match: str) -> None:
    refused(lambda g: g.node(operator, g.first(8)), match)


def test_unusual_forms_are_refused() -> None:
    refused(lambda g: g.node("Add", g.first(8), g.weight(1)), "Add.*w4")
    refused(lambda g: g.node("Add", g.convolution("image", 3, 8), "image"), "Add.*shapes")
    refused(lambda g: g.node("Add", g.convolution("image", 3, 3), "image"), "Add.*no layer")
    refused(lambda g: g.node("PRelu", g.first(8), g.weight(g.normal(5, 1))), "PRelu.*constants")
    refused(lambda g: g.node("Concat", g.first(8), axis=2), "Concat.*axis")
    refused(lambda g: g.node("Sub", g.first(8), g.weight(1)), "Sub")
    refused(lambda g: g.normalised(), "features")
    refused(lambda g: g.node("Conv", "image", "image"), "Conv.*known")


def test_too_many_joined_tensors_are_refused() -> None:
    graph = Graph()
    value = graph.first(1)
    for _ in range(8):
        value = graph.node("Concat", value, value, axis=1)
    value = graph.node("Concat", value, value, axis=1)
    with pytest.raises(Unsupported, match="Concat"):
        read_network(graph.model(value), "features")


def test_damaged_weights_are_found() -> None:
    for shape, biases in (((8, 5, 3, 3), 8), ((8, 8, 3, 3), 7)):
        graph = Graph()
        first, weight = graph.first(8), graph.weight(graph.normal(*shape))
        value = graph.node("Conv", first, weight, graph.weight(graph.normal(biases)), pads=[1] * 4)
        with pytest.raises(ValueError, match="8"):
            read_network(graph.model(value), "features")


def bundle_of(model: onnx.ModelProto) -> Any:  # noqa: ANN401
    """As much of a bundle as opening needs, with a graph that no check has seen."""
    data = model.SerializeToString()
    return SimpleNamespace(
        path=Path("a-bundle"), image_output="features", graph_bytes=lambda *_: data
    )


@needs_bf16
def test_a_damaged_graph_is_a_damaged_bundle() -> None:
    graph = Graph()
    value = graph.node("Conv", graph.first(8), graph.weight(graph.normal(8, 5, 3, 3)), pads=[1] * 4)
    with pytest.raises(BundleError, match=r"a-bundle: the backbone graph is damaged"):
        open_convolutions(bundle_of(graph.model(value)), "backbone", "bf16", 1)


@needs_bf16
def test_a_convolution_of_too_many_blocks_is_refused() -> None:
    graph = Graph()
    value = graph.node("Concat", *[graph.first(1)] * 256, axis=1)
    value = graph.node("Concat", value, graph.nodes[2].output[0], axis=1)
    with pytest.raises(Unsupported, match="Concat"):
        open_convolutions(bundle_of(graph.model(value)), "backbone", "bf16", 1)


def test_a_processor_without_the_instructions_is_refused(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "has_instructions", lambda: False)
    with pytest.raises(Unsupported, match="avx512_bf16") as found:
        open_convolutions(Bundle.load(carn_like_bundle), "backbone", "bf16", 1)
    assert "\n" not in str(found.value)


def test_other_precisions_and_roles_are_refused(carn_like_bundle: Path, plain_bundle: Path) -> None:
    with pytest.raises(Unsupported, match="fp32"):
        open_convolutions(Bundle.load(carn_like_bundle), "backbone", "fp32", 1)
    with pytest.raises(Unsupported, match="network"):
        open_convolutions(Bundle.load(plain_bundle), "network", "bf16", 1)
