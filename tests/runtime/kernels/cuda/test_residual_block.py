"""The residual block's kernel, on the emulated GPU, gives what PyTorch gives and has no races."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pcsr.runtime.kernels.cuda import residual_block as room
from pcsr.runtime.kernels.cuda.residual_block import pack_residual_block, shared_bytes

from .emulated import EmulatedKernel

SOURCE = Path(room.__file__).with_suffix(".cu")
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
