"""The convolutions compile for NVIDIA GPUs, fit them, and are computed on tensor cores. Without a
GPU.
"""

import re
from functools import partial

import pytest
import torch
from torch import Tensor

from benchmarks.compiled.compiler import SHARED_LIMIT, Compiled
from pcsr.runtime.kernels.convolutions import first as first_module
from pcsr.runtime.kernels.convolutions import grouped as grouped_module
from pcsr.runtime.kernels.convolutions import pointwise as pointwise_module
from pcsr.runtime.kernels.convolutions.first import first, pack_first
from pcsr.runtime.kernels.convolutions.grouped import Projection, grouped
from pcsr.runtime.kernels.convolutions.layout import pack_grouped, pack_pointwise, pack_projection
from pcsr.runtime.kernels.convolutions.pointwise import pointwise
from pcsr.runtime.torch_backend.images.first import TILES as FIRST_TILES
from pcsr.runtime.torch_backend.replacing.convolutions import (
    GROUPED_TILES,
    POINTWISE_TILES,
    PROJECTED_TILES,
)
from tests.runtime.kernels.replacing import replaced

SPILLED = 256  # bytes per thread: other tiles are tried too, and the GPU says which is faster
IMAGES = {"carn": (3, 64, True), "fsrcnn": (5, 48, False)}  # side, outputs, less its mean
JOINS = {"carn": ([64, 56, 56, 56], 52), "fsrcnn": ([48], 16)}
zeros = partial(torch.zeros, dtype=torch.float16)
Tile = tuple[int, ...]


def each(tiles: tuple[Tile, ...]) -> pytest.MarkDecorator:
    """The first tile on every GPU, the others on one."""
    cases = [(tiles[0], 80), (tiles[0], 89), *((tile, 90) for tile in tiles)]
    return pytest.mark.parametrize(("tile", "capability"), cases)


def _image(channels: int) -> Tensor:
    return zeros(1, channels, 4, 300).contiguous(memory_format=torch.channels_last)


def _check(compiled: Compiled, what: str, capability: int) -> None:
    print(  # noqa: T201
        f"{what:40} sm_{capability} {compiled.registers:3} registers, "
        f"{compiled.spilled:4} B spilled, {compiled.shared:6} B shared"
    )
    assert compiled.uses_tensor_cores
    assert compiled.spilled <= (0 if capability == 90 else SPILLED)
    assert compiled.shared <= SHARED_LIMIT[89]


def _grouped(tile: Tile, groups: int = 4, outputs: int = 0) -> None:
    projection = None
    if outputs:
        weight = pack_projection(zeros(outputs, groups * 16, 1, 1), groups)
        projection = Projection(weight, outputs, zeros(outputs), _image(outputs), 0.0)
    packed, bias = pack_grouped(zeros(groups * 16, 16, 3, 3), groups), zeros(groups * 16)
    grouped(_image(groups * 16), packed, (groups, 16), bias, 0.0, projection, tile)


@pytest.mark.parametrize("join", list(JOINS))
@each(POINTWISE_TILES)
def test_joins(join: str, tile: Tile, capability: int, monkeypatch: pytest.MonkeyPatch) -> None:
    channels, outputs = JOINS[join]
    launches = replaced(monkeypatch, pointwise_module, "pointwise_kernel")
    weight = pack_pointwise(zeros(outputs, sum(channels), 1, 1), channels)
    maps, bias = [_image(count) for count in channels], zeros(outputs)
    pointwise(maps, weight, outputs, bias, None, 0.0, tile)
    _check(launches.compile(capability), f"join {join} {tile}", capability)


@each(GROUPED_TILES)
def test_groups(tile: Tile, capability: int, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = replaced(monkeypatch, grouped_module, "grouped_kernel")
    _grouped(tile)
    _check(launches.compile(capability), f"4 groups {tile}", capability)


@each(PROJECTED_TILES)
def test_groups_with_projections(
    tile: Tile, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    launches = replaced(monkeypatch, grouped_module, "grouped_kernel")
    _grouped(tile, 4, 64)
    _check(launches.compile(capability), f"4 groups, 1x1 to 64 {tile}", capability)


def test_one_group_with_a_projection(monkeypatch: pytest.MonkeyPatch) -> None:
    launches = replaced(monkeypatch, grouped_module, "grouped_kernel")
    _grouped(PROJECTED_TILES[0], 1, 48)
    _check(launches.compile(90), "1 group, 1x1 to 48", 90)


def _first(image: str, tile: Tile, dtype: torch.dtype = torch.float16) -> None:
    side, outputs, less = IMAGES[image]
    packed = pack_first(zeros(outputs, 3, side, side, dtype=dtype))
    mean = torch.zeros(3) if less else None
    shape = outputs, side
    first(torch.zeros(1, 3, 4, 300), packed, shape, zeros(outputs, dtype=dtype), mean, 0.2, tile)


@pytest.mark.parametrize("image", list(IMAGES))
@each(FIRST_TILES)
def test_images(image: str, tile: Tile, capability: int, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = replaced(monkeypatch, first_module, "first_kernel")
    _first(image, tile)
    _check(launches.compile(capability), f"image {image} {tile}", capability)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("capability", [86, 100, 120])
def test_images_elsewhere(
    dtype: torch.dtype, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They compile; on sm_100 the products are `tcgen05.mma`."""
    launches = replaced(monkeypatch, first_module, "first_kernel")
    _first("fsrcnn", FIRST_TILES[0], dtype)
    compiled = launches.compile(capability)
    assert compiled.uses_tensor_cores or "tcgen05.mma" in compiled.ptx
    assert compiled.spilled <= SPILLED
    assert compiled.shared <= SHARED_LIMIT[89]


@pytest.mark.parametrize("image", list(IMAGES))
def test_images_are_read_along_their_rows(image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 32 threads of a warp load 32 neighbouring pixels: windows overlap, so that the other way
    around a load would touch each row of memory many times.
    """
    launches = replaced(monkeypatch, first_module, "first_kernel")
    _first(image, FIRST_TILES[0])
    ir = launches.compile(90).ttgir
    loads = re.findall(r"tt.load .*tensor<128x\d+x!tt.ptr<f32>, (#\w+)>", ir)
    assert len(loads) == (1 if image == "carn" else 2)
    for layout in loads:
        assert re.search(rf"{layout} = .*threadsPerWarp = \[32, 1\]", ir)
