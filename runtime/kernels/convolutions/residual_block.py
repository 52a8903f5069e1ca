"""A residual block of CARN, two grouped 3x3 convolutions, a 1x1 one and the sum, and the join that
follows it, in one launch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pcsr.runtime.kernels.cuda.compile import CudaKernel, cuda_kernel

from .layout import empty_pixels_last, pixels_last

CHANNELS, GROUPS, GROUP = 64, 4, 16
COLUMNS = 30  # of a tile
MOST_MAPS = 3  # that are joined with the block's result
THREADS = 256
TYPES: dict[torch.dtype, dict[str, int]] = {torch.float16: {}, torch.bfloat16: {"BFLOAT16": 1}}


def residual_block(x: Tensor, packed: Tensor, biases: Tensor, rows: int = 8) -> Tensor:
    """Computes y = ReLU(x + W3 ReLU(conv2(ReLU(conv1(x) + b1)) + b2) + b3) as `residual_block.cu`
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
    x = _taken(x, packed.dtype)
    out = empty_pixels_last(x.shape, x)
    _launch(kernel_for(x.device, x.dtype, rows), x, rows, (packed, biases, out))
    return out


def joined_block(
    x: Tensor,
    maps: Sequence[Tensor],
    packed: Tensor,
    biases: Tensor,
    outputs: int,
    keeps: bool,
    rows: int = 8,
) -> tuple[Tensor | None, Tensor]:
    """Computes the block and joined = ReLU(W [maps..., y] + b4): y, or None where it is not kept,
    and joined [n, outputs, h, w], channels last. y is rounded before it is joined.

    Args:
        x, rows: as of `residual_block`.
        maps: one to three of the shape of x.
        packed: of `pack_residual_block`, and of `pack_join` behind it.
        biases: [4 * 64] float32, b1 to b4, zeros behind the outputs.
        outputs: a multiple of 8, at most 64.
        keeps: whether y is written.

    Raises: as `residual_block`.
    """
    x = _taken(x, packed.dtype)
    if not 1 <= len(maps) <= MOST_MAPS or any(one.shape != x.shape for one in maps):
        raise ValueError(f"{[tuple(one.shape) for one in maps]} to join with {tuple(x.shape)}")
    if not 8 <= outputs <= CHANNELS or outputs % 8:
        raise ValueError(f"{outputs} outputs")
    taken = [_taken(one, packed.dtype) for one in maps]
    count, _, height, width = x.shape
    y = empty_pixels_last(x.shape, x) if keeps else None
    joined = empty_pixels_last((count, outputs, height, width), x)
    spare = [taken[0]] * (MOST_MAPS - len(taken))
    kernel = kernel_for(x.device, x.dtype, rows, len(taken), outputs, keeps)
    tensors = (packed, biases, joined if y is None else y, *taken, *spare, joined)
    _launch(kernel, x, rows, tensors)
    return y, joined


def _taken(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Gives a map as the kernel reads it. Raises ValueError as `residual_block`."""
    if x.shape[1] != CHANNELS or x.dtype not in TYPES or x.dtype != dtype:
        raise ValueError(f"{x.shape[1]} channels of {x.dtype} and weights of {dtype}")
    x = pixels_last(x)
    is_dense = x.stride(3) == CHANNELS and x.data_ptr() % 16 == 0
    return x if is_dense else empty_pixels_last(x.shape, x).copy_(x)


def _launch(kernel: CudaKernel, x: Tensor, rows: int, tensors: Sequence[Tensor]) -> None:
    count, _, height, width = x.shape
    if x.numel():
        grid = (-(-width // COLUMNS), -(-height // rows), count)
        pointers = (tensor.data_ptr() for tensor in (x, *tensors))
        stream = torch.cuda.current_stream(x.device).cuda_stream
        kernel.launch(grid, stream, *pointers, height, width)


def kernel_for(
    device: torch.device,
    dtype: torch.dtype,
    rows: int,
    maps: int = 0,
    outputs: int = CHANNELS,
    keeps: bool = True,
) -> CudaKernel:
    """Gives the kernel, compiled once per process, device and form. maps: that are joined."""
    defines = {"TILE_ROWS": rows, **TYPES[dtype]}
    if maps:
        defines |= {"JOINED": maps, "OUTPUTS": outputs, "KEEPS_Y": int(keeps)}
    arguments = "PPPPPPPPii" if maps else "PPPPii"
    shape = (THREADS, shared_bytes(rows, maps > 0))
    return cuda_kernel("residual_block", arguments, device, *shape, **defines)


def shared_bytes(rows: int, joins: bool = False) -> int:
    """Counts the shared memory of a program, as the kernel lays it out."""
    pixels = (rows + 4) * (COLUMNS + 4) + (rows + 2) * (COLUMNS + 2)
    biases = 4 if joins else 3
    return pixels * CHANNELS * 2 + CHANNELS * GROUP * 9 * 2 + biases * CHANNELS * 4


def pack_residual_block(weights: Sequence[Tensor]) -> Tensor:
    """Lays the weights [64, 16, 3, 3], [64, 16, 3, 3] and [64, 64, 1, 1] out as the lanes of a warp
    hold them: four values side by side for each lane.
    """
    first, second, last = weights
    return torch.cat([_grouped(first), _grouped(second), _pointwise(last)])


def pack_join(weight: Tensor) -> Tensor:
    """Lays the weight [outputs, 64 * (maps + 1)] of the join out, y last: it belongs behind what
    `pack_residual_block` gives.
    """
    padded = weight.new_zeros(CHANNELS, weight.shape[1])
    padded[: len(weight)] = weight
    *maps, y = padded.split(CHANNELS, 1)
    side_by_side = [_pointwise(one, _channels_side_by_side()) for one in maps]
    return torch.cat([*side_by_side, _pointwise(y)])


def _lanes() -> tuple[Tensor, Tensor]:
    """Gives the column [32] and the rows [32, 4] of a 16x8 matrix that each lane holds."""
    lane = torch.arange(32)
    pair = lane % 4
    return lane // 4, torch.stack([2 * pair, 2 * pair + 1, 2 * pair + 8, 2 * pair + 9], 1)


def _channels_in_order() -> Tensor:
    """Gives the channels [4, 16] that are the rows of the four products of a 1x1 convolution."""
    return torch.arange(CHANNELS).view(GROUPS, GROUP)


def _channels_side_by_side() -> Tensor:
    """Does the same where a lane has eight neighbours of each half: they come four at a time."""
    row = torch.arange(GROUP)
    of_lane = 8 * (row % 8 // 2) + row % 2 + 2 * (row // 8)
    product = torch.arange(GROUPS)[:, None]
    return 32 * (product // 2) + 4 * (product % 2) + of_lane


def _grouped(weight: Tensor) -> Tensor:
    column, rows = _lanes()
    by_tap = weight.reshape(GROUPS, GROUP, GROUP, 9).permute(0, 3, 1, 2)
    halves = [by_tap[:, :, (half * 8 + column)[:, None], rows] for half in range(2)]
    return torch.stack(halves, 2).flatten()


def _pointwise(weight: Tensor, channels: Tensor | None = None) -> Tensor:
    """Lays [64, 64, 1, 1] out. channels: the rows of each product; None: in order."""
    column, rows = _lanes()
    channels = _channels_in_order() if channels is None else channels
    by_product = weight.reshape(CHANNELS, CHANNELS)[:, channels].permute(1, 0, 2)
    eighths = 8 * (column // 2) + column % 2  # a lane's results are neighbours in memory
    outputs = [[32 * part + 2 * quarter + eighths for quarter in range(4)] for part in range(2)]
    parts = [
        torch.stack([by_product[:, one[:, None], rows] for one in quarters], 1)
        for quarters in outputs
    ]
    return torch.stack(parts).flatten()
