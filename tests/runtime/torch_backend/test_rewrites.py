"""Graphs rewritten for speed compute the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import helper

from pcsr.bundle import Bundle
from pcsr.runtime.torch_backend import fusions as fusion
from pcsr.runtime.torch_backend import module as onnx_module
from pcsr.runtime.torch_backend.graph import Node, OperatorGraph, read_graph
from pcsr.runtime.torch_backend.module import OnnxModule
from pcsr.runtime.torch_backend.rewrites import (
    dense_groups,
    dense_weight,
    fuse_convolutions,
    in_place,
    is_typed,
)

from . import made

CPU = torch.device("cpu")
SAME = 1e-5  # float32 sums in another order


def floats(*shape: int) -> made.Array:
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


def residual_model(*after: str, shape: tuple[int, ...] = (1, 4, 6, 7), pad: int = 1) -> bytes:
    """Conv, Add of the image, Relu; `after` are more names of outputs."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[pad] * 4, kernel_shape=[3, 3]),
        helper.make_node("Add", ["x", "c"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    constants = {"w": floats(4, 4, 3, 3), "b": floats(4)}
    model = made.model_of(nodes, {"x": floats(*shape)}, constants, ["y", *after])
    data: bytes = model.SerializeToString()
    return data


def ops(graph: OperatorGraph) -> list[str]:
    return [node.op for node in graph.nodes]


def yes(_conv: Node, _weight: torch.Tensor, _adds: bool) -> bool:
    return True


def test_a_dense_weight_convolves_like_the_groups() -> None:
    x, weight = torch.rand(2, 12, 8, 9), torch.rand(8, 3, 3, 3)
    expected = F.conv2d(x, weight, padding=1, groups=4)
    dense = dense_weight(weight, 4)
    assert dense.shape == (8, 12, 3, 3)
    assert (F.conv2d(x, dense, padding=1) - expected).abs().max() <= SAME


def test_narrow_groups_become_dense(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Bundle.load(carn_like_bundle).graph_bytes("backbone")
    graph, image = read_graph(model), torch.rand(1, 3, 9, 8)
    dense, expected = dense_groups(graph), OnnxModule(model)(image)
    assert {node.attributes.get("group", 1) for node in graph.nodes} == {1, 4}
    assert {node.attributes.get("group", 1) for node in dense.nodes} == {1}
    monkeypatch.setattr(onnx_module, "read_graph", lambda *_arguments: dense)
    for found, value in zip(OnnxModule(model)(image), expected, strict=True):
        assert (found - value).abs().max() <= SAME


@pytest.mark.parametrize(("groups", "width"), [(1, 4), (16, 2), (2, 33)])
def test_other_convolutions_keep_their_groups(groups: int, width: int) -> None:
    node = Node("Conv", "", ("x", "w"), ("y",), {"group": groups})
    graph = OperatorGraph(("x",), ("y",), (node,), {"w": torch.zeros(groups, width, 3, 3)})
    assert dense_groups(graph).nodes == (node,)


def test_a_sum_and_its_relu_join_the_convolution() -> None:
    fused = fuse_convolutions(read_graph(residual_model()), yes)
    assert ops(fused) == ["ConvAddRelu"]
    assert fused.nodes[0].inputs == ("x", "w", "b", "x")
    assert fused.nodes[0].outputs == ("y",)


@pytest.mark.parametrize("also", ["c", "s"])
def test_what_is_used_elsewhere_is_not_fused(also: str) -> None:
    assert ops(fuse_convolutions(read_graph(residual_model(also)), yes)) == ["Conv", "Add", "Relu"]


def test_a_sum_that_may_broadcast_is_not_fused() -> None:
    model = residual_model(shape=(1, 4, 3, 3), pad=0)
    assert ops(fuse_convolutions(read_graph(model), yes)) == ["Conv", "Add", "Relu"]
    expected = made.by_onnxruntime(model, {"x": floats(1, 4, 3, 3)})
    found = OnnxModule(model)(torch.from_numpy(floats(1, 4, 3, 3)))
    assert made.largest_difference(found, expected) <= SAME


def test_one_convolution_takes_the_sum_of_two() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"], kernel_shape=[1, 1]),
        helper.make_node("Conv", ["x", "w"], ["b"], kernel_shape=[1, 1]),
        helper.make_node("Add", ["a", "b"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    constants = {"v": floats(4, 3, 1, 1), "w": floats(4, 3, 1, 1)}
    model = made.model_of(nodes, {"x": floats(1, 3, 5, 5)}, constants, ["y"])
    fused = fuse_convolutions(read_graph(model.SerializeToString()), yes)
    assert ops(fused) == ["Conv", "ConvAddRelu"]


def test_what_the_device_lacks_is_not_fused(carn_like_bundle: Path) -> None:
    module = OnnxModule(Bundle.load(carn_like_bundle).graph_bytes("backbone"))
    assert "; ".join(module.choices) == "channels first; no fused convolutions"


def test_a_probe_of_a_missing_kernel_says_no() -> None:
    (conv,) = (node for node in read_graph(residual_model()).nodes if node.op == "Conv")
    for adds in (True, False):
        options = fusion.options_of(conv)
        assert not fusion.probe((4, 4, 3, 3), options, adds, torch.float32, CPU)


@pytest.mark.parametrize("wrong", [0.0, 0.01, float("nan")])
def test_a_probe_compares_with_the_operators(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "fused", lambda *arguments: fusion.plain(*arguments) + wrong)
    options = ((1, 1), (1, 1), (1, 1), 1)
    found = fusion.probe.__wrapped__((5, 4, 3, 3), options, True, torch.float32, CPU)
    assert found == (wrong == 0)


def test_refused_at_run_time_it_computes_unfused_and_says_so(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU has none of cuDNN's kernels: a graph that was fused all the same still computes."""
    model = Bundle.load(carn_like_bundle).graph_bytes("backbone")
    image = torch.rand(1, 3, 9, 8)
    expected = OnnxModule(model)(image)
    monkeypatch.setattr(onnx_module, "may_fuse", lambda *_args, **_device: True)
    module = OnnxModule(model)
    assert "; ".join(module.choices) == "channels first; 39 of 39 fused convolutions"
    for found, value in zip(module(image), expected, strict=True):
        assert (found - value).abs().max() <= SAME
    assert "; 0 of 39" in "; ".join(module.choices)
    assert "cudnn_convolution" in "; ".join(module.choices)


@pytest.mark.parametrize("name", ["carn_like_bundle", "plain_bundle"])
def test_channels_last_computes_the_same(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.load(request.getfixturevalue(name))
    model = bundle.graph_bytes("network" if bundle.kind == "plain" else "backbone")
    image = torch.rand(1, 3, 9, 8)
    expected = OnnxModule(model)(image)
    monkeypatch.setattr(onnx_module, "layout_for", lambda _dtype: torch.channels_last)
    module = OnnxModule(model)
    assert "; ".join(module.choices).startswith("channels last")
    found = module(image)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    for tensor, value in zip(found, expected, strict=True):
        assert (tensor - value).abs().max() <= SAME


def test_memory_that_runs_out_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(fusion, "fused", full)
    step = fusion.FusedConvolution(Node("ConvRelu", "", ("x", "w"), ("y",), {}))
    with pytest.raises(torch.OutOfMemoryError):
        step(torch.rand(1, 2, 3, 3), torch.rand(2, 2, 1, 1))
    assert step.refused == ""


def test_only_fresh_values_are_overwritten() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),  # the caller's
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Slice", ["b", "one", "two"], ["c"]),
        helper.make_node("LeakyRelu", ["c"], ["d"]),  # a view of b
        helper.make_node("Add", ["d", "d"], ["e"]),  # used twice
        helper.make_node("LeakyRelu", ["e"], ["f"]),
        helper.make_node("Add", ["b", "f"], ["g"]),
    ]
    constants = {"one": np.array([1]), "two": np.array([2])}
    model = made.model_of(nodes, {"x": floats(3, 4)}, constants, ["g"]).SerializeToString()
    expected = ["Relu", "Relu_", "Slice", "LeakyRelu", "Add", "LeakyRelu_", "Add_"]
    assert ops(in_place(read_graph(model))) == expected
    found = OnnxModule(model)(torch.from_numpy(floats(3, 4)))
    assert made.largest_difference(found, made.by_onnxruntime(model, {"x": floats(3, 4)})) == 0


def test_types_of_graphs(carn_like_bundle: Path) -> None:
    bundle = Bundle.load(carn_like_bundle)
    graph = read_graph(bundle.graph_bytes("backbone"))
    halved = {name: value.half() for name, value in graph.constants.items()}
    assert not is_typed(graph)
    assert is_typed(OperatorGraph(graph.inputs, graph.outputs, graph.nodes, halved))
