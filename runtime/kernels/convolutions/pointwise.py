"""1x1 convolutions of the join of several maps, which is never written, and what ends them."""

from collections.abc import Sequence
from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from pcsr.runtime.kernels import launch

from .layout import empty_pixels_last, pixels_last

MOST_MAPS, MOST_OUTPUTS = 4, 128
LEAST = 16  # rows and columns of a product on tensor cores


@dataclass(frozen=True)
class PointwiseTile:
    """block: pixels of a program."""

    block: int = 128
    warps: int = 4


@triton.jit
def activated(x, SLOPE: tl.constexpr):
    """ReLU (0), nothing (1), or LeakyReLU. A NaN stays one."""
    if SLOPE == 0:
        x = tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)
    elif SLOPE != 1:
        x = tl.where(x < 0, x * SLOPE, x)
    return x


@triton.jit
def _join(
    acc,
    x,
    weight,
    begin,
    pixel,
    mask,
    C: tl.constexpr,
    STRIDE: tl.constexpr,
    CHUNK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """acc + x [pixels, C] @ its rows of the weight, CHUNK channels at a time."""
    column = tl.arange(0, COLUMNS)
    for first in tl.static_range(0, C, CHUNK):
        channel = first + tl.arange(0, CHUNK)
        place = x + begin * STRIDE + (pixel[:, None] * STRIDE + channel[None, :])
        near = tl.load(place, mask=mask[:, None] & (channel < C)[None, :], other=0.0)
        of = tl.load(weight + channel[:, None] * COLUMNS + column[None, :])
        acc = tl.dot(near, of, acc=acc, input_precision="ieee", out_dtype=tl.float32)
    return acc


@triton.jit
def end(
    acc,
    bias,
    added,
    out,
    begin,
    pixel,
    mask,
    O: tl.constexpr,  # noqa: E741
    STRIDE: tl.constexpr,
    COLUMNS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ADDED_STRIDE: tl.constexpr,
    SLOPE: tl.constexpr,
):
    """Stores the activation of acc [pixels, COLUMNS] + bias [O] [+ added]. Pixels of out begin
    STRIDE values apart, of added ADDED_STRIDE; 0: nothing is added.
    """
    column = tl.arange(0, COLUMNS)
    if HAS_BIAS:
        acc += tl.load(bias + column, mask=column < O, other=0.0).to(tl.float32)[None, :]
    wanted = mask[:, None] & (column < O)[None, :]
    if ADDED_STRIDE > 0:
        place = added + begin * ADDED_STRIDE + (pixel[:, None] * ADDED_STRIDE + column[None, :])
        acc += tl.load(place, mask=wanted, other=0.0).to(tl.float32)
    place = out + begin * STRIDE + (pixel[:, None] * STRIDE + column[None, :])
    tl.store(place, activated(acc, SLOPE).to(out.dtype.element_ty), mask=wanted)


@triton.jit(do_not_specialize=["pixels"])
def pointwise_kernel(
    x0,
    x1,
    x2,
    x3,
    weight,
    bias,
    added,
    out,
    pixels,
    C0: tl.constexpr,
    C1: tl.constexpr,
    C2: tl.constexpr,
    C3: tl.constexpr,
    STRIDE0: tl.constexpr,
    STRIDE1: tl.constexpr,
    STRIDE2: tl.constexpr,
    STRIDE3: tl.constexpr,
    FROM1: tl.constexpr,
    FROM2: tl.constexpr,
    FROM3: tl.constexpr,
    CHUNK: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    COLUMNS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ADDED_STRIDE: tl.constexpr,
    SLOPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A program does BLOCK pixels. Map j has Cj channels (0: there is none), its pixels begin
    STRIDEj values apart, its rows of the weight at FROMj.
    """
    begin = tl.program_id(0).to(tl.int64) * BLOCK
    pixel = tl.arange(0, BLOCK)
    mask = pixel < pixels - begin
    acc = tl.zeros((BLOCK, COLUMNS), dtype=tl.float32)
    acc = _join(acc, x0, weight, begin, pixel, mask, C0, STRIDE0, CHUNK, COLUMNS)
    if C1 > 0:
        of = weight + FROM1 * COLUMNS
        acc = _join(acc, x1, of, begin, pixel, mask, C1, STRIDE1, CHUNK, COLUMNS)
    if C2 > 0:
        of = weight + FROM2 * COLUMNS
        acc = _join(acc, x2, of, begin, pixel, mask, C2, STRIDE2, CHUNK, COLUMNS)
    if C3 > 0:
        of = weight + FROM3 * COLUMNS
        acc = _join(acc, x3, of, begin, pixel, mask, C3, STRIDE3, CHUNK, COLUMNS)
    end(acc, bias, added, out, begin, pixel, mask, O, O, COLUMNS, HAS_BIAS, ADDED_STRIDE, SLOPE)


def chunk_of(channels: Sequence[int]) -> int:
    """Channels that are multiplied at a time: the widest map's, at most 64."""
    return min(64, padded(max(channels)))


def padded(count: int) -> int:
    """The next power of two, at least 16."""
    return max(LEAST, 1 << (count - 1).bit_length())


def pack_pointwise(weight: Tensor, channels: Sequence[int]) -> Tensor:
    """[O, sum of channels, 1, 1] as the kernel reads it: [K, O padded], each map's rows padded with
    zeros to whole chunks.
    """
    chunk, outputs = chunk_of(channels), weight.shape[0]
    rows = [-(-count // chunk) * chunk for count in channels]
    packed = weight.new_zeros(sum(rows), padded(outputs))
    parts = weight.reshape(outputs, -1).split([*channels], dim=1)
    starts = [sum(rows[:index]) for index in range(len(rows))]
    for start, part in zip(starts, parts, strict=True):
        packed[start : start + part.shape[1], :outputs] = part.t()
    return packed


def pointwise(
    maps: Sequence[Tensor],
    weight: Tensor,
    outputs: int,
    bias: Tensor | None,
    added: Tensor | None,
    slope: float,
    tile: PointwiseTile = PointwiseTile(),
) -> Tensor:
    """The 1x1 convolution of maps [n, C_j, h, w], joined -> [n, outputs, h, w], channels last.

    Sums in float32, rounded once. weight: of `pack_pointwise`, of the maps' type. bias: [outputs].
    added: [n, outputs, h, w], before the activation. slope: of negative results, 0 for ReLU, 1 for
    nothing. Maps that are not channels last are copied.

    Raises:
        ValueError: too many maps or outputs, or tensors that do not fit each other.
    """
    channels = [x.shape[1] for x in maps]
    chunk, columns = chunk_of(channels), padded(outputs)
    rows = [-(-count // chunk) * chunk for count in channels]
    first = maps[0]
    shape = (first.shape[0], outputs, *first.shape[2:])
    if not 1 <= len(maps) <= MOST_MAPS or outputs > MOST_OUTPUTS:
        raise ValueError(
            f"{len(maps)} maps and {outputs} outputs: at most {MOST_MAPS}, {MOST_OUTPUTS}"
        )
    if any((x.shape[0], *x.shape[2:]) != (shape[0], *shape[2:]) for x in maps):
        raise ValueError(f"maps of different sizes: {[tuple(x.shape) for x in maps]}")
    if weight.shape != (sum(rows), columns) or (added is not None and added.shape != shape):
        raise ValueError(f"a weight {tuple(weight.shape)} or a sum that does not fit {shape}")
    laid = [pixels_last(x) for x in maps]
    plus = None if added is None else pixels_last(added)
    out = empty_pixels_last(shape, first)
    if not (pixels := out.numel() // outputs):
        return out
    spare = MOST_MAPS - len(maps)
    starts = [sum(rows[:index]) for index in range(1, len(rows))] + [0] * spare
    counts, strides = channels + [0] * spare, [x.stride(3) for x in laid] + [0] * spare
    block = max(LEAST, launch.block(tile.block, pixels))
    pointwise_kernel[(triton.cdiv(pixels, block),)](
        *laid,
        *[laid[0]] * spare,
        weight,
        weight if bias is None else bias,
        out if plus is None else plus,
        out,
        pixels,
        *counts,
        *strides,
        *starts,
        CHUNK=chunk,
        O=outputs,
        COLUMNS=columns,
        HAS_BIAS=bias is not None,
        ADDED_STRIDE=0 if plus is None else plus.stride(3),
        SLOPE=slope,
        BLOCK=block,
        num_warps=tile.warps,
        num_stages=1,
    )
    return out
