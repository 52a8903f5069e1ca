"""The convolutions compile for NVIDIA GPUs, fit them, and are computed on tensor cores. Without a
GPU.
"""

from functools import partial

import pytest
import torch
from torch import Tensor

from pcsr.runtime.gpu.convolutions import GROUPED_TILES, POINTWISE_TILES, TAILED_TILES
from pcsr.runtime.kernels import grouped as grouped_module
from pcsr.runtime.kernels import pointwise as pointwise_module
from pcsr.runtime.kernels.grouped import GroupedTile, Tail, grouped, pack_grouped, pack_tail
from pcsr.runtime.kernels.pointwise import PointwiseTile, pack_pointwise, pointwise

from .compiler import SHARED_LIMIT, Compiled, Launches

each_gpu = pytest.mark.parametrize("capability", [80, 89, 90])
zeros = partial(torch.zeros, dtype=torch.float16)
JOINS = {"carn": ([64, 64, 64, 64], 64), "padded": ([64, 56, 56, 56], 52), "fsrcnn": ([48], 16)}


def _image(channels: int) -> Tensor:
    return zeros(1, channels, 4, 300).contiguous(memory_format=torch.channels_last)


def _check(compiled: Compiled, what: str, capability: int) -> None:
    print(  # noqa: T201
        f"{what:40} sm_{capability} {compiled.registers:3} registers, "
        f"{compiled.spilled:4} B spilled, {compiled.shared:6} B shared"
    )
    assert compiled.uses_tensor_cores
    assert compiled.spilled == 0
    assert compiled.shared <= SHARED_LIMIT[89]


@pytest.mark.parametrize("join", list(JOINS))
@pytest.mark.parametrize("tile", POINTWISE_TILES)
@each_gpu
def test_joins(
    join: str, tile: tuple[int, int], capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels, outputs = JOINS[join]
    launches = Launches.of(monkeypatch, pointwise_module, "pointwise_kernel")
    weight = pack_pointwise(zeros(outputs, sum(channels), 1, 1), channels)
    added = _image(outputs) if len(channels) == 1 else None
    pointwise(
        [_image(c) for c in channels],
        weight,
        outputs,
        zeros(outputs),
        added,
        0.0,
        PointwiseTile(*tile),
    )
    _check(launches.compile(capability), f"join {join} {tile}", capability)


def _grouped(groups: int, outputs: int, tile: tuple[int, int, int]) -> None:
    tail = None
    if outputs:
        weight = pack_tail(zeros(outputs, groups * 16, 1, 1), groups)
        tail = Tail(weight, outputs, zeros(outputs), _image(outputs), 0.0)
    packed = pack_grouped(zeros(groups * 16, 16, 3, 3), groups)
    grouped(
        _image(groups * 16), packed, (groups, 16), zeros(groups * 16), 0.0, tail, GroupedTile(*tile)
    )


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("tile", GROUPED_TILES)
@each_gpu
def test_groups(
    groups: int, tile: tuple[int, int, int], capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    launches = Launches.of(monkeypatch, grouped_module, "grouped_kernel")
    _grouped(groups, 0, tile)
    _check(launches.compile(capability), f"{groups} groups {tile}", capability)


@pytest.mark.parametrize(("groups", "outputs"), [(1, 48), (4, 64)])
@pytest.mark.parametrize("tile", TAILED_TILES)
@each_gpu
def test_tails(
    groups: int,
    outputs: int,
    tile: tuple[int, int, int],
    capability: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launches = Launches.of(monkeypatch, grouped_module, "grouped_kernel")
    _grouped(groups, outputs, tile)
    _check(launches.compile(capability), f"{groups} groups, 1x1 to {outputs} {tile}", capability)
