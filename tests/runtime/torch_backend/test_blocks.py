"""Residual blocks of CARN are found in its graph and become one node each."""

import onnx
import torch

from pcsr.export.graphs.onnx_graph import export_graph, graph_sources
from pcsr.models import PlainNetwork, make_backbone
from pcsr.runtime.torch_backend.graph import read_graph
from pcsr.runtime.torch_backend.replacing.candidates import candidates, improved
from pcsr.runtime.torch_backend.replacing.sites import MOST_PARTS, Site, sites_of
from tests import checkpoints

from . import made


def half_carn(**arguments: int) -> onnx.ModelProto:
    torch.manual_seed(0)
    given = {**checkpoints.BACKBONES["carn"], "no_upsampling": False, "scale": 4, **arguments}
    plain = PlainNetwork(make_backbone("carn", given), 4, (0.4, 0.5, 0.6), (1.0, 1.0, 1.0))
    (source,) = graph_sources(plain.eval())
    return made.typed(export_graph(source, 20), made.TYPES["fp16"][0])


def as_blocks(site: Site) -> str:
    return "one kernel 8 rows" if len(site.parts) == MOST_PARTS else "operators"


def test_nine_blocks_of_carn_are_one_kernel_each() -> None:
    graph = read_graph(half_carn(nf=64).SerializeToString())
    placed = improved(graph, as_blocks)
    blocks = [node for node in placed.nodes if node.op == "ResidualBlock"]
    assert len(blocks) == 9
    gone = len(graph.nodes) - len(placed.nodes)
    assert gone == 9 * 6  # three convolutions, two ReLUs between, the sum and its ReLU make one
    for node in blocks:
        _, packed, biases = node.inputs
        assert placed.constants[packed].shape == (2 * 64 * 16 * 9 + 64 * 64,)
        assert placed.constants[packed].dtype == torch.float16
        assert placed.constants[biases].dtype == torch.float32
        assert placed.constants[biases].shape == (3 * 64,)


def test_a_block_may_also_run_in_parts() -> None:
    graph = read_graph(half_carn(nf=64).SerializeToString())
    block = next(site for site in sites_of(graph) if len(site.parts) == MOST_PARTS)
    assert list(candidates(block, as_blocks)) == [
        "operators",
        "in parts",
        "one kernel 8 rows",
        "one kernel 6 rows",
    ]
    assert [len(site.parts) for site in sites_of(block.graph, 2)] == [1, 2]
    assert [len(site.parts) for site in sites_of(block.graph, 1)] == [1, 1, 1]


def test_blocks_of_another_width_stay_convolutions() -> None:
    graph = read_graph(half_carn(nf=32).SerializeToString())
    assert max(len(site.parts) for site in sites_of(graph)) < MOST_PARTS
