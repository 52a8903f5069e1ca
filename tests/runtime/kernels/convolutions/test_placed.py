"""Our convolutions in the places of operators, on the CPU in the interpreter."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor

from pcsr.export.graphs.onnx_graph import export_graph, graph_sources
from pcsr.models import PlainNetwork, make_backbone
from pcsr.runtime.kernels.convolutions import grouped as grouped_module
from pcsr.runtime.kernels.convolutions.grouped import grouped
from pcsr.runtime.torch_backend import module as onnx_module
from pcsr.runtime.torch_backend.graph import OperatorGraph, read_graph
from pcsr.runtime.torch_backend.module import OnnxModule
from pcsr.runtime.torch_backend.replacing import candidates as room
from pcsr.runtime.torch_backend.replacing.candidates import (
    OPERATORS,
    candidates,
    improved,
    measured,
)
from pcsr.runtime.torch_backend.replacing.sites import MOST_PARTS, Site, sites_of
from pcsr.runtime.torch_backend.rewrites import dense_groups
from pcsr.runtime.torch_backend.trial import Run
from tests import checkpoints
from tests.runtime.torch_backend import made

SAME = 1e-5  # float32 sums in another order
FP16 = 1e-2  # of values about 1, after tens of layers of 11 bits
CPU = torch.device("cpu")
# Of small plain networks: arguments, and how many of our nodes there are.
NETWORKS: dict[str, tuple[str, dict[str, Any], dict[str, int]]] = {
    "carn": ("carn", {"nf": 64, "scale": 4}, {"First": 1, "Pointwise": 12, "Grouped": 18}),
    "fsrcnn": (
        "fsrcnn",
        {"d": 8, "s": 12, "m": 2, "upscale": 4},
        {"First": 1, "Pointwise": 1, "Grouped": 2},
    ),
    "srresnet": ("srresnet", {"nf": 8, "nb": 1, "upscale": 4}, {"First": 1, "Grouped": 2}),
    "imdn": ("imdn", {"nf": 24, "nb": 1, "scale": 4}, {"First": 1, "Pointwise": 1, "Grouped": 1}),
}


def ours(site: Site) -> str:
    """Residual blocks are for a GPU alone."""
    if len(site.parts) == MOST_PARTS:
        return "in parts"
    return next(name for name in candidates(site, ours) if name.startswith("one kernel"))


def ours_in_parts(site: Site) -> str:
    return "in parts" if len(site.parts) > 1 else ours(site)


def counts(graph: OperatorGraph) -> dict[str, int]:
    found = Counter(node.op for node in graph.nodes)
    return {op: found[op] for op in ("First", "Pointwise", "Grouped") if found[op]}


def run(graph: OperatorGraph, *inputs: Tensor) -> tuple[Tensor, ...]:
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(onnx_module, "read_graph", lambda *_arguments: graph)
        outputs: tuple[Tensor, ...] = OnnxModule(b"")(*inputs)
    return outputs


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, dict[str, int]]:
    torch.manual_seed(0)
    name, arguments, expected = NETWORKS[request.param]
    arguments = {**checkpoints.BACKBONES[name], **arguments, "no_upsampling": False}
    plain = PlainNetwork(make_backbone(name, arguments), 4, (0.4, 0.5, 0.6), (1.0, 0.9, 1.1))
    (source,) = graph_sources(plain.eval())
    return export_graph(source, 20), expected


def test_whole_graphs_compute_the_same(
    network: tuple[onnx.ModelProto, dict[str, int]],
) -> None:
    model, expected = network
    image = torch.rand(1, 3, 4, 3)
    data = [(model, SAME)]
    if len(model.graph.node) < 60:  # CARN takes the interpreter long
        data.append((made.typed(model, made.TYPES["fp16"][0]), FP16))
    for model, loss in data:
        graph = read_graph(model.SerializeToString())
        (wanted,) = run(graph, image)
        placed = improved(graph, ours)
        assert counts(placed) == expected
        (found,) = run(placed, image)
        assert (found - wanted).abs().max() <= loss * max(1.0, wanted.abs().max().item())


def conv(x: str, weight: str, output: str, side: int, group: int = 1) -> onnx.NodeProto:
    pads, shape, inputs = [side // 2] * 4, [side, side], [x, weight, "bias"]
    return helper.make_node("Conv", inputs, [output], kernel_shape=shape, pads=pads, group=group)


def floats(*shape: int) -> made.Array:
    scale = float(np.prod(shape[1:])) ** -0.5
    values = np.random.default_rng(3).normal(size=shape, scale=scale)
    return values.astype(np.float32)


def growing(*outputs: str) -> OperatorGraph:
    """Two grouped convolutions, joins that grow, and an activation of each kind."""
    nodes = [
        conv("x", "w3", "a", 3, group=2),
        helper.make_node("LeakyRelu", ["a"], ["b"], alpha=0.2),
        conv("b", "w1", "c", 1),
        helper.make_node("Add", ["x", "c"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Concat", ["x", "e"], ["xe"], axis=1),
        conv("xe", "w2", "f", 1),
        conv("f", "w3", "g", 3, group=2),
        helper.make_node("Concat", ["xe", "g"], ["xeg"], axis=1),
        conv("xeg", "w4", "h", 1),
    ]
    constants = {
        "w3": floats(32, 16, 3, 3),
        "w1": floats(32, 32, 1, 1),
        "w2": floats(32, 64, 1, 1),
        "w4": floats(32, 96, 1, 1),
        "bias": floats(32),
    }
    model = made.model_of(nodes, {"x": floats(1, 32, 5, 6)}, constants, outputs)
    return read_graph(model.SerializeToString())


def ops(graph: OperatorGraph) -> list[str]:
    return [node.op for node in graph.nodes]


IMAGE = torch.from_numpy(floats(2, 32, 5, 6))


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (("h",), ["Grouped", "Pointwise", "Grouped", "Pointwise"]),
        (("h", "xe"), ["Grouped", "Concat", "Pointwise", "Grouped", "Pointwise"]),
        (("h", "c"), ["Grouped", "Add", "Relu", "Pointwise", "Grouped", "Pointwise"]),
        (("h", "b"), ["Grouped", "Pointwise", "Pointwise", "Grouped", "Pointwise"]),
    ],
)
def test_what_others_use_stays(outputs: tuple[str, ...], expected: list[str]) -> None:
    graph = growing(*outputs)
    placed = improved(graph, ours)
    assert ops(placed) == expected
    for found, wanted in zip(run(placed, IMAGE), run(graph, IMAGE), strict=True):
        assert (found - wanted).abs().max() <= SAME * 10


def test_in_parts() -> None:
    graph = growing("h")
    placed = improved(graph, ours_in_parts)
    assert ops(placed) == ["Grouped", "Pointwise", "Pointwise", "Grouped", "Pointwise"]
    (found,), (wanted,) = run(placed, IMAGE), run(graph, IMAGE)
    assert (found - wanted).abs().max() <= SAME * 10


def test_equal_weights_are_packed_once() -> None:
    placed = improved(growing("h"), ours)
    assert [name for name in placed.constants if name.startswith("w3")] == ["w3/packed"]


def test_a_sum_that_broadcasts() -> None:
    """The graph does not tell: it shows when it runs."""
    nodes = [
        conv("x", "w", "a", 1),
        helper.make_node("Add", ["a", "y"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
    ]
    constants = {"w": floats(4, 4, 1, 1), "bias": floats(4)}
    inputs = {"x": floats(1, 4, 1, 1), "y": floats(1, 4, 5, 6)}
    model = made.model_of(nodes, inputs, constants, ["c"])
    graph = read_graph(model.SerializeToString())
    placed = improved(graph, ours)
    assert ops(placed) == ["Pointwise"]
    x, y = made.tensors(inputs)
    for first, second in ((x, y), (y, x), (y, y)):
        (found,), (wanted,) = run(placed, first, second), run(graph, first, second)
        assert (found - wanted).abs().max() <= SAME


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """Times that the timer says, by the op that runs; trials happen here on the CPU."""
    times: dict[str, float] = {}
    monkeypatch.setattr(room, "SIZE", (5, 6))
    monkeypatch.setattr(room, "device_ms", lambda run: times.get(run.__name__, 1.0))
    original = room.runner

    def named(graph: OperatorGraph, inputs: dict[str, Tensor]) -> Run:
        run = original(graph, inputs)
        run.__name__ = "+".join(ops(graph))
        return run

    monkeypatch.setattr(room, "runner", named)
    measured.cache_clear()
    yield times
    measured.cache_clear()


def test_trials_find_our_kernels_right_and_take_what_is_fastest(trials: dict[str, float]) -> None:
    trials |= {"Grouped": 0.5, "Pointwise": 0.3}
    placed, report = room.tuned(growing("h"), CPU)
    assert ops(placed) == ["Grouped", "Pointwise", "Grouped", "Pointwise"]
    first, *others = report
    assert first.startswith("3x3 2 x 16 to 32 bias LeakyReLU 0.2 + 1x1 32 to 32 bias sum ReLU: one")
    assert "operators 1.000, in parts 1.000, one kernel 64x2x4 0.500" in first
    assert [line.partition(":")[0] for line in others] == [
        "1x1 32+32 to 32 bias",
        "3x3 2 x 16 to 32 bias",
        "1x1 32+32+32 to 32 bias",
    ]


def test_operators_stay_where_they_are_faster(trials: dict[str, float]) -> None:
    trials |= {"Grouped": 2.0, "Pointwise": 2.0, "Grouped+Pointwise": 2.0}
    graph = growing("h")
    assert ops(room.tuned(graph, CPU)[0]) == ops(graph)


def test_cudnn_may_keep_its_groups(trials: dict[str, float]) -> None:
    trials |= {"Grouped": 2.0}
    (site,) = (s for s in sites_of(growing("h")) if s.key == "3x3 2 x 16 to 32 bias")
    assert measured(site, CPU).winner == OPERATORS
    kept = candidates(site, ours)["groups of cuDNN"]()
    dense, groups = dense_groups(site.graph), dense_groups(kept)
    assert [n.attributes["group"] for n in (*dense.nodes, *groups.nodes)] == [1, 2]


def test_a_wrong_kernel_is_dropped(
    trials: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    trials |= {"Grouped": 0.1}
    monkeypatch.setattr(
        grouped_module, "grouped", lambda *args, **options: grouped(*args, **options) + 0.1
    )
    (site,) = (s for s in sites_of(growing("h")) if s.key == "3x3 2 x 16 to 32 bias")
    outcome = measured(site, CPU)
    assert outcome.winner in (OPERATORS, "groups of cuDNN")
    assert set(outcome.dropped.values()) == {"wrong by 0.1"}


def test_a_trial_is_made_once(trials: dict[str, float]) -> None:
    assert not trials
    sites = [s for _ in range(2) for s in sites_of(growing("h"))]
    for site in sites:
        measured(site, CPU)
    assert measured.cache_info().misses == len({site.key for site in sites}) + 2  # and two parts
