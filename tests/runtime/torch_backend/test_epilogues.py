"""Which convolutions end in our kernel, and what happens where it cannot run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import NodeProto, helper
from torch import Tensor

from pcsr.bundle import Bundle
from pcsr.runtime.kernels.convolutions import epilogue as kernel
from pcsr.runtime.torch_backend import epilogues
from pcsr.runtime.torch_backend.epilogues import EpilogueConvolution, EpilogueForm, probe
from pcsr.runtime.torch_backend.graph import Node, OperatorGraph, read_graph
from pcsr.runtime.torch_backend.module import OnnxModule
from pcsr.runtime.torch_backend.rewrites import fuse_convolutions, fuse_epilogues, in_place

from . import made

CPU = torch.device("cpu")
SAME = 1e-5  # float32 sums in another order
LEAKY = EpilogueForm(5, 0.1, True, True, torch.float32, torch.channels_last)
ADD = helper.make_node("Add", ["x", "c"], ["s"])
LEAKY_RELU = helper.make_node("LeakyRelu", ["s"], ["y"], alpha=0.2)
RELU = helper.make_node("Relu", ["s"], ["y"])


def floats(*shape: int) -> made.Array:
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


def conv(result: str, bias: str = "b", pad: int = 1) -> NodeProto:
    inputs = ["x", "w", bias] if bias else ["x", "w"]
    return helper.make_node("Conv", inputs, [result], pads=[pad] * 4, kernel_shape=[3, 3])


def graph_of(*nodes: NodeProto, outputs: Sequence[str] = ("y",)) -> OperatorGraph:
    """Of an image x [1, 4, 6, 7]."""
    constants = {"w": floats(4, 4, 3, 3), "b": floats(4), "k": floats(1, 4, 1, 1)}
    model = made.model_of(nodes, {"x": floats(1, 4, 6, 7)}, constants, outputs)
    return read_graph(model.SerializeToString())


def fused(graph: OperatorGraph) -> list[tuple[str, tuple[str, ...], float | None]]:
    """Operator, inputs and slope of each node."""
    nodes = fuse_epilogues(graph, lambda *_: True).nodes
    return [(node.op, node.inputs, node.attributes.get("slope")) for node in nodes]


@pytest.mark.parametrize(
    ("nodes", "inputs", "slope"),
    [
        ([conv("c"), ADD, LEAKY_RELU], ("x", "w", "b", "x"), 0.2),
        ([conv("c", bias=""), ADD, RELU], ("x", "w", "", "x"), 0),
        ([conv("c"), helper.make_node("Add", ["c", "x"], ["y"])], ("x", "w", "b", "x"), 1),
        ([conv("s"), LEAKY_RELU], ("x", "w", "b"), 0.2),
        ([conv("s", pad=0), RELU], ("x", "w", "b"), 0),
        ([conv("s"), helper.make_node("LeakyRelu", ["s"], ["y"])], ("x", "w", "b"), 0.01),
        ([conv("y")], ("x", "w", "b"), 1),
    ],
)
def test_what_becomes_one_node(
    nodes: Sequence[NodeProto], inputs: tuple[str, ...], slope: float
) -> None:
    ((op, found, found_slope),) = fused(graph_of(*nodes))
    assert (op, found) == ("ConvEpilogue", inputs)
    assert found_slope == pytest.approx(slope)


def test_of_shared_results_only_the_bias_is_fused() -> None:
    after_sum = fused(graph_of(conv("c"), ADD, RELU, outputs=["y", "c"]))
    assert [op for op, _, _ in after_sum] == ["ConvEpilogue", "Add", "Relu"]
    assert after_sum[0][1:] == (("x", "w", "b"), 1)
    after_relu = fused(graph_of(conv("c"), ADD, RELU, outputs=["y", "s"]))
    assert after_relu == [("ConvEpilogue", ("x", "w", "b", "x"), 1), ("Relu", ("s",), None)]


@pytest.mark.parametrize(
    "added",
    [
        (conv("c"), helper.make_node("Add", ["c", "k"], ["s"])),
        (conv("c", pad=0), helper.make_node("Add", ["c", "k"], ["s"])),
        (conv("c"), helper.make_node("Add", ["c", "c"], ["s"])),
    ],
)
def test_a_sum_with_another_shape_is_not_fused(added: tuple[NodeProto, ...]) -> None:
    assert [op for op, _, _ in fused(graph_of(*added, RELU))] == ["ConvEpilogue", "Add", "Relu"]


def test_where_nothing_is_saved_it_stays() -> None:
    for nodes in ([conv("s", bias=""), RELU], [conv("y", bias="")]):
        assert [op for op, _, _ in fused(graph_of(*nodes))] == [node.op_type for node in nodes]
    graph = graph_of(conv("s"), RELU)
    assert fuse_epilogues(graph, lambda *_: False).nodes == graph.nodes


def test_one_convolution_takes_the_sum_of_two() -> None:
    sum_ = helper.make_node("Add", ["a", "c"], ["s"])
    found = fused(graph_of(conv("a"), conv("c"), sum_, RELU))
    assert [op for op, _, _ in found] == ["ConvEpilogue", "ConvEpilogue"]
    assert [slope for _, _, slope in found] == [1, 0]
    assert found[1][1] == ("x", "w", "b", "c")


def test_a_deconvolution_takes_its_bias() -> None:
    turned = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], kernel_shape=[3, 3])
    assert fused(graph_of(turned)) == [("ConvTransposeEpilogue", ("x", "w", "b"), 1)]
    weight = torch.zeros(8, 5, 3, 3)
    node = Node("ConvTransposeEpilogue", "", ("x", "w", "b"), ("y",), {"slope": 1.0, "group": 2})
    assert EpilogueForm.of(node, weight, torch.channels_last).channels == 10


@pytest.mark.parametrize("name", ["carn_like_bundle", "three_way_bundle", "single_bundle"])
def test_of_exported_graphs_no_bias_and_no_activation_is_left(
    name: str, request: pytest.FixtureRequest
) -> None:
    bundle = Bundle.load(request.getfixturevalue(name))
    graph = read_graph(bundle.graph_bytes("backbone"), ["features"])
    rewritten = in_place(fuse_epilogues(graph, lambda *_: True))
    assert not [node for node in rewritten.nodes if node.op == "Conv" and len(node.inputs) > 2]
    assert not {node.op for node in rewritten.nodes} & {"Relu", "Relu_", "LeakyRelu", "LeakyRelu_"}
    cudnn = fuse_convolutions(graph, lambda *_: True)
    rest = {node.op for node in fuse_epilogues(cudnn, lambda *_: True).nodes}
    assert not rest & {"Relu", "LeakyRelu"}


def test_without_the_kernel_the_operators_run_and_it_says_why(
    three_way_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton's compiled kernels take no tensors on the CPU: a real failure of the probe."""
    model = Bundle.load(three_way_bundle).graph_bytes("backbone")
    image = torch.rand(1, 3, 9, 8)
    plain = OnnxModule(model)
    assert "; ".join(plain.choices) == "channels first; no fused convolutions"
    monkeypatch.setattr(epilogues, "DEVICES", frozenset({"cpu"}))
    module = OnnxModule(model)
    assert "; 0 epilogues; no epilogue kernel: " in "; ".join(module.choices)
    assert all(map(torch.equal, module(image), plain(image)))


@pytest.mark.parametrize("wrong", [0.0, 0.01, float("nan")])
def test_a_probe_compares_with_the_operators(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def made_up(y: Tensor, bias: Tensor, added: Tensor, slope: float) -> Tensor:
        return torch.nn.functional.leaky_relu(y + bias[:, None, None] + added, slope) + wrong

    monkeypatch.setattr(kernel, "epilogue", made_up)
    reason = probe.__wrapped__(LEAKY, CPU)
    assert reason.startswith("the epilogue kernel is wrong on cpu for EpilogueForm(") == (
        wrong != 0
    )


def test_memory_that_runs_out_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(kernel, "epilogue", full)
    with pytest.raises(torch.OutOfMemoryError):
        probe.__wrapped__(LEAKY, CPU)


def test_a_sum_that_broadcasts_after_all_is_one_of_the_operators() -> None:
    """Which shapes meet is only known at run time."""
    attributes = {"slope": 0.1, "kernel_shape": (1, 1)}
    node = Node("ConvEpilogue", "", ("x", "w", "b", "a"), ("y",), attributes)
    x, weight, bias, added = (torch.randn(n) for n in ((2, 3, 4, 5), (6, 3, 1, 1), 6, (2, 1, 4, 5)))
    found = EpilogueConvolution(node)(x, weight, bias, added)
    out = torch.nn.functional.conv2d(x, weight, bias) + added
    assert (found - torch.nn.functional.leaky_relu(out, 0.1)).abs().max() <= SAME


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")
@pytest.mark.parametrize("name", ["carn_like_bundle", "three_way_bundle", "single_bundle"])
def test_on_a_gpu_it_computes_the_same_and_can_be_captured(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Bundle.load(request.getfixturevalue(name)).graph_bytes("backbone")
    device, image = torch.device("cuda"), torch.rand(1, 3, 33, 47, device="cuda")
    module = OnnxModule(model, device, ["features"])
    assert " epilogues" in "; ".join(module.choices)
    assert "no epilogue kernel" not in "; ".join(module.choices)
    monkeypatch.setattr(epilogues, "DEVICES", frozenset())
    (expected,) = OnnxModule(model, device, ["features"])(image)
    module(image)
    graph, still = torch.cuda.CUDAGraph(), torch.zeros_like(image)
    with torch.cuda.graph(graph):
        (found,) = module(still)
    still.copy_(image)
    graph.replay()
    assert (found - expected).abs().max() <= SAME * expected.abs().max()
