"""The residual block's kernel, on the emulated GPU, gives what PyTorch gives and has no races."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pcsr.runtime.kernels.convolutions import residual_block as room
from pcsr.runtime.kernels.convolutions.residual_block import (
    pack_join,
    pack_residual_block,
    shared_bytes,
)
from pcsr.runtime.kernels.cuda.compile import FOLDER

from .emulated import EmulatedKernel

SOURCE = FOLDER / "residual_block.cu"
UNWRITTEN = 0x7E01  # a NaN
ROUNDED = 2e-3  # two results of half precision between, of values up to 4


def weights() -> tuple[list[Tensor], Tensor]:
    shapes = ((64, 16, 3, 3), (64, 16, 3, 3), (64, 64, 1, 1))
    made = [(torch.randn(*shape) * 0.1).half() for shape in shapes]
    return made, torch.randn(3, 64) * 0.1


def expected(x: Tensor, convolutions: list[Tensor], biases: Tensor) -> Tensor:
    first, second, last = (weight.float() for weight in convolutions)
    y = F.conv2d(x.float(), first, biases[0], padding=1, groups=4).relu().half()
    y = F.conv2d(y.float(), second, biases[1], padding=1, groups=4).relu().half()
    return (F.conv2d(y.float(), last, biases[2]) + x.float()).relu()


def emulated(x: Tensor, convolutions: list[Tensor], biases: Tensor, rows: int) -> Tensor:
    count, _, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).contiguous().numpy()
    packed = pack_residual_block(convolutions).numpy().view(np.uint16)
    kernel = EmulatedKernel(SOURCE, "residual_block", {"TILE_ROWS": rows})
    grid = (-(-width // room.COLUMNS), -(-height // rows), count)
    out = np.full(pixels.shape, np.nan, np.float16)
    *_, found = kernel.launch(
        grid,
        room.THREADS,
        shared_bytes(rows),
        pixels.view(np.uint16),
        packed,
        biases.flatten().numpy(),
        out.view(np.uint16),
        height,
        width,
    )
    return torch.from_numpy(found.view(np.float16)).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize(
    ("shape", "rows"), [((1, 17, 33), 8), ((2, 1, 1), 8), ((1, 7, 30), 6), ((1, 9, 61), 9)], ids=str
)
def test_it_is_two_grouped_convolutions_a_join_and_a_sum(
    shape: tuple[int, int, int], rows: int
) -> None:
    torch.manual_seed(0)
    convolutions, biases = weights()
    x = torch.randn(shape[0], 64, *shape[1:]).half()
    found = emulated(x, convolutions, biases, rows)
    assert (found - expected(x, convolutions, biases)).abs().max() <= ROUNDED


def test_a_value_that_is_no_number_stays_one() -> None:
    torch.manual_seed(0)
    convolutions, biases = weights()
    x = torch.randn(1, 64, 5, 6).half()
    x[0, 20, 2, 3] = torch.nan
    found = emulated(x, convolutions, biases, 8)
    assert torch.equal(found.isnan(), expected(x, convolutions, biases).isnan())


@pytest.mark.parametrize(
    ("maps", "outputs", "keeps", "rows"),
    [(1, 64, True, 8), (2, 64, True, 8), (3, 56, False, 8), (3, 64, True, 6), (2, 8, False, 7)],
)
def test_the_join_behind_it(maps: int, outputs: int, keeps: bool, rows: int) -> None:
    torch.manual_seed(0)
    convolutions, biases = weights()
    x, *others = (torch.randn(2, 64, 11, 37).half() for _ in range(maps + 1))
    join = (torch.randn(outputs, 64 * (maps + 1), 1, 1) * 0.1).half()
    end = torch.randn(outputs) * 0.1
    y, joined = emulated_join(x, others, convolutions, (join, biases, end), rows, keeps)
    wanted = expected(x, convolutions, biases)
    if keeps:
        assert (y - wanted).abs().max() <= ROUNDED
    else:
        assert y.isnan().all()
    both = torch.cat([*others, wanted.half()], 1).float()
    wanted = F.conv2d(both, join.float(), end).relu()
    assert (joined - wanted).abs().max() <= 2 * ROUNDED


def emulated_join(
    x: Tensor,
    others: list[Tensor],
    convolutions: list[Tensor],
    join: tuple[Tensor, Tensor, Tensor],
    rows: int,
    keeps: bool,
) -> tuple[Tensor, Tensor]:
    weight, biases, end = join
    count, _, height, width = x.shape
    outputs, maps = len(weight), len(others)
    defines = {"TILE_ROWS": rows, "JOINED": maps, "OUTPUTS": outputs, "KEEPS_Y": int(keeps)}
    kernel = EmulatedKernel(SOURCE, "residual_block", defines)
    grid = (-(-width // room.COLUMNS), -(-height // rows), count)
    y, joined = (
        np.full((count, height, width, channels), UNWRITTEN, np.uint16)
        for channels in (64, outputs)
    )
    pixels = [one.permute(0, 2, 3, 1).contiguous().numpy().view(np.uint16) for one in (x, *others)]
    ends = torch.cat([biases.flatten(), end, torch.zeros(64 - outputs)]).numpy()
    packed = torch.cat([pack_residual_block(convolutions), pack_join(weight.flatten(1))])
    spare = [None] * (room.MOST_MAPS - maps)
    pointers = (pixels[0], packed.numpy().view(np.uint16), ends, y, *pixels[1:], *spare, joined)
    found = kernel.launch(grid, room.THREADS, shared_bytes(rows, True), *pointers, height, width)
    made = [torch.from_numpy(one.view(np.float16)) for one in (found[3], found[-1])]
    return made[0].permute(0, 3, 1, 2).float(), made[1].permute(0, 3, 1, 2).float()
