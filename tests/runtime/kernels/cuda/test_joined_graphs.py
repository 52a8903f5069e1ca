"""CARN's backbone with blocks and joins on the emulated GPU, against its operators."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pcsr.runtime.kernels.convolutions import residual_block as room
from pcsr.runtime.kernels.cuda.compile import FOLDER
from pcsr.runtime.torch_backend.graph import OperatorGraph, read_graph
from pcsr.runtime.torch_backend.program import run_steps, steps_of
from pcsr.runtime.torch_backend.replacing.candidates import improved
from pcsr.runtime.torch_backend.replacing.joins import joins_of, with_joins
from pcsr.runtime.torch_backend.replacing.sites import MOST_PARTS, Site, channels_of
from tests.runtime.torch_backend.test_blocks import half_carn

from .emulated import EmulatedKernel

SOURCE = FOLDER / "residual_block.cu"
FP16 = 1e-2  # of values about 1, after tens of layers of 11 bits


class Emulated:
    """Stands for the compiled kernel. Tensors are on the CPU; their addresses name them."""

    def __init__(self, defines: dict[str, int], shared: int) -> None:
        self._kernel = EmulatedKernel(SOURCE, "residual_block", defines, checked=False)
        self._shared = shared

    def launch(self, x: Tensor, rows: int, tensors: Sequence[Tensor]) -> None:
        count, _, height, width = x.shape
        grid = (-(-width // room.COLUMNS), -(-height // rows), count)
        given = [one.permute(0, 2, 3, 1) if one.ndim == 4 else one for one in (x, *tensors)]
        arrays: list[Any] = [
            one.numpy().view(np.uint16 if one.dtype == torch.float16 else one.numpy().dtype)
            for one in given
        ]
        found = self._kernel.launch(grid, room.THREADS, self._shared, *arrays, height, width)
        for array, new in zip(arrays, found, strict=True):
            array[...] = new


def on_the_emulated_gpu(patch: pytest.MonkeyPatch) -> None:
    def kernel_for(
        device: torch.device,
        dtype: torch.dtype,
        rows: int,
        maps: int = 0,
        outputs: int = room.CHANNELS,
        keeps: bool = True,
    ) -> Emulated:
        defines = {"TILE_ROWS": rows}
        if maps:
            defines |= {"JOINED": maps, "OUTPUTS": outputs, "KEEPS_Y": int(keeps)}
        return Emulated(defines, room.shared_bytes(rows, maps > 0))

    def launch(kernel: Emulated, x: Tensor, rows: int, tensors: Sequence[Tensor]) -> None:
        kernel.launch(x, rows, tensors)

    patch.setattr(room, "kernel_for", kernel_for)
    patch.setattr(room, "_launch", launch)


def as_blocks(site: Site) -> str:
    """Joins become one kernel, of Triton, in the graph alone: here they do not run."""
    if len(site.parts) == MOST_PARTS:
        return "one kernel 8 rows"
    is_join = site.parts[0].conv.attributes.get("kernel_shape") in ([1, 1], (1, 1))
    return "one kernel 128x4" if is_join else "operators"


def run(graph: OperatorGraph, image: Tensor) -> Tensor:
    known = {**graph.constants, graph.inputs[0]: image}
    return run_steps([*steps_of(graph)], known, graph.outputs)[0].float()


def test_nine_blocks_take_their_joins_along() -> None:
    graph = read_graph(half_carn(nf=64).SerializeToString())
    channels, blocks = channels_of(graph), improved(graph, as_blocks)
    joins = [*joins_of(blocks, channels)]
    assert [len(join.maps) for join in joins] == [1, 2, 3] * 3
    assert [join.keeps for join in joins] == [True, True, False] * 3
    assert with_joins(blocks, channels, lambda join: False).nodes == blocks.nodes
    assert len({join.key for join in joins}) == 3
    joined = with_joins(blocks, channels, lambda join: True)
    assert sum(node.op == "JoinedBlock" for node in joined.nodes) == 9
    assert sum(node.op == "Pointwise" for node in joined.nodes) == 3
    assert len(joined.nodes) == len(blocks.nodes) - 9


def test_a_cascade_gives_what_its_operators_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first three blocks and their joins; the emulated GPU takes a second for each."""
    whole = read_graph(half_carn(nf=64).SerializeToString())
    channels = channels_of(whole)
    last = [*joins_of(improved(whole, as_blocks), channels)][2].pointwise.outputs[0]
    graph = OperatorGraph(whole.inputs, (last,), (), whole.constants).with_nodes(whole.nodes)
    image = torch.rand(1, 3, 5, 33)
    expected = run(graph, image)
    on_the_emulated_gpu(monkeypatch)
    joined = with_joins(improved(graph, as_blocks), channels, lambda join: True)
    assert [node.op for node in joined.nodes].count("JoinedBlock") == 3
    assert not [node for node in joined.nodes if node.op == "Pointwise"]
    found = run(joined, image)
    assert (found - expected).abs().max() <= FP16 * max(1.0, expected.abs().max().item())
