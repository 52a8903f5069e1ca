"""A residual block of CARN, two grouped 3x3 convolutions, a 1x1 one and the sum, in one launch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pcsr.runtime.kernels.convolutions.layout import empty_pixels_last, pixels_last

from .compile import CudaKernel, cuda_kernel

CHANNELS, GROUPS, GROUP = 64, 4, 16
COLUMNS = 30  # of a tile
THREADS = 256
TYPES: dict[torch.dtype, dict[str, int]] = {torch.float16: {}, torch.bfloat16: {"BFLOAT16": 1}}


def residual_block(x: Tensor, packed: Tensor, biases: Tensor, rows: int = 8) -> Tensor:
    """Computes ReLU(x + W3 ReLU(conv2(ReLU(conv1(x) + b1)) + b2) + b3) as `residual_block.cu`
    says: [n, 64, h, w], channels last.

    Args:
        x: [n, 64, h, w] float16 or bfloat16 on a GPU; it is copied if it is not channels last.
        packed: of `pack_residual_block`, of the type of x.
        biases: [3 * 64] float32, b1, b2 and b3.
        rows: of the tile of one program.

    Raises:
        ValueError: tensors that do not fit each other.
        RuntimeError: CUDA refuses the kernel.
        ImportError: cuda.bindings, which compiles it, is not installed.
    """
    count, channels, height, width = x.shape
    if channels != CHANNELS or x.dtype not in TYPES or packed.dtype != x.dtype:
        raise ValueError(f"{channels} channels of {x.dtype} and weights of {packed.dtype}")
    x = pixels_last(x)
    if x.stride(3) != CHANNELS or x.data_ptr() % 16:
        x = empty_pixels_last(x.shape, x).copy_(x)
    out = empty_pixels_last(x.shape, x)
    if out.numel():
        grid = (-(-width // COLUMNS), -(-height // rows), count)
        pointers = (tensor.data_ptr() for tensor in (x, packed, biases, out))
        stream = torch.cuda.current_stream(x.device).cuda_stream
        kernel_for(x.device, x.dtype, rows).launch(grid, stream, *pointers, height, width)
    return out


def kernel_for(device: torch.device, dtype: torch.dtype, rows: int) -> CudaKernel:
    """Gives the kernel, compiled once per process, device and form."""
    defines = {"TILE_ROWS": rows, **TYPES[dtype]}
    shape = (THREADS, shared_bytes(rows))
    return cuda_kernel("residual_block", "PPPPii", device, *shape, **defines)


def shared_bytes(rows: int) -> int:
    """Counts the shared memory of a program, as the kernel lays it out."""
    pixels = (rows + 4) * (COLUMNS + 4) + (rows + 2) * (COLUMNS + 2)
    return pixels * CHANNELS * 2 + CHANNELS * GROUP * 9 * 2 + 3 * CHANNELS * 4


def pack_residual_block(weights: Sequence[Tensor]) -> Tensor:
    """Lays the weights [64, 16, 3, 3], [64, 16, 3, 3] and [64, 64, 1, 1] out as the lanes of a warp
    hold them: four values side by side for each lane.
    """
    first, second, last = weights
    return torch.cat([_grouped(first), _grouped(second), _pointwise(last)])


def _lanes() -> tuple[Tensor, Tensor]:
    """Gives the column [32] and the rows [32, 4] of a 16x8 matrix that each lane holds."""
    lane = torch.arange(32)
    pair = lane % 4
    return lane // 4, torch.stack([2 * pair, 2 * pair + 1, 2 * pair + 8, 2 * pair + 9], 1)


def _grouped(weight: Tensor) -> Tensor:
    column, rows = _lanes()
    by_tap = weight.reshape(GROUPS, GROUP, GROUP, 9).permute(0, 3, 1, 2)
    halves = [by_tap[:, :, (half * 8 + column)[:, None], rows] for half in range(2)]
    return torch.stack(halves, 2).flatten()


def _pointwise(weight: Tensor) -> Tensor:
    column, rows = _lanes()
    by_group = weight.reshape(CHANNELS, GROUPS, GROUP).permute(1, 0, 2)
    eighths = 8 * (column // 2) + column % 2  # a lane's results are neighbours in memory
    outputs = [[32 * part + 2 * quarter + eighths for quarter in range(4)] for part in range(2)]
    parts = [
        torch.stack([by_group[:, one[:, None], rows] for one in quarters], 1)
        for quarters in outputs
    ]
    return torch.stack(parts).flatten()
