"""1x1 convolutions of the join of several maps, which is never written, with bias, sum and
activation.
"""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from pcsr.runtime.kernels import launch
from pcsr.runtime.kernels.packed import padded

from .layout import chunk_of, empty_pixels_last, pixels_last, row_starts

MOST_MAPS, MOST_OUTPUTS = tl.constexpr(4), 128


@triton.jit
def activated(x, SLOPE: tl.constexpr):
    """Applies ReLU (SLOPE 0), nothing (1), or LeakyReLU. A NaN stays one."""
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
    place,
    C: tl.constexpr,
    STRIDE: tl.constexpr,
    CHUNK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Gives acc + x [pixels, C] @ its rows of the weight, CHUNK channels at a time."""
    begin, pixel, mask = place
    column = tl.arange(0, COLUMNS)
    for first in tl.static_range(0, C, CHUNK):
        channel = first + tl.arange(0, CHUNK)
        near = x + begin * STRIDE + (pixel[:, None] * STRIDE + channel[None, :])
        near = tl.load(near, mask=mask[:, None] & (channel < C)[None, :], other=0.0)
        of = tl.load(weight + channel[:, None] * COLUMNS + column[None, :])
        acc = tl.dot(near, of, acc=acc, input_precision="ieee", out_dtype=tl.float32)
    return acc


@triton.jit
def end(
    acc,
    bias,
    added,
    out,
    place,
    O: tl.constexpr,  # noqa: E741
    STRIDE: tl.constexpr,
    COLUMNS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ADDED_STRIDE: tl.constexpr,
    SLOPE: tl.constexpr,
):
    """Stores the activation of acc [pixels, COLUMNS] + bias [O] [+ added].

    place: (begin, pixel, mask), the first pixel and those from there. Pixels of out begin STRIDE
    values apart, of added ADDED_STRIDE; 0: nothing is added.
    """
    begin, pixel, mask = place
    column = tl.arange(0, COLUMNS)
    if HAS_BIAS:
        acc += tl.load(bias + column, mask=column < O, other=0.0).to(tl.float32)[None, :]
    wanted = mask[:, None] & (column < O)[None, :]
    if ADDED_STRIDE > 0:
        plus = added + begin * ADDED_STRIDE + (pixel[:, None] * ADDED_STRIDE + column[None, :])
        acc += tl.load(plus, mask=wanted, other=0.0).to(tl.float32)
    to = out + begin * STRIDE + (pixel[:, None] * STRIDE + column[None, :])
    tl.store(to, activated(acc, SLOPE).to(out.dtype.element_ty), mask=wanted)


@triton.jit(do_not_specialize=["pixels"])
def pointwise_kernel(
    maps,
    weight,
    bias,
    added,
    out,
    pixels,
    CHANNELS: tl.constexpr,
    STRIDES: tl.constexpr,
    STARTS: tl.constexpr,
    CHUNK: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    COLUMNS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ADDED_STRIDE: tl.constexpr,
    SLOPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Computes out = act(sum over maps x_j @ weight_j + bias + added) for BLOCK pixels.

    Map j has CHANNELS[j] channels (0: there is none), its pixels begin STRIDES[j] values apart, its
    rows of the weight at STARTS[j].
    """
    begin = tl.program_id(0).to(tl.int64) * BLOCK
    pixel = tl.arange(0, BLOCK)
    place = (begin, pixel, pixel < pixels - begin)
    acc = tl.zeros((BLOCK, COLUMNS), dtype=tl.float32)
    for j in tl.static_range(MOST_MAPS):
        if CHANNELS[j] > 0:
            of = weight + STARTS[j] * COLUMNS
            acc = _join(acc, maps[j], of, place, CHANNELS[j], STRIDES[j], CHUNK, COLUMNS)
    end(acc, bias, added, out, place, O, O, COLUMNS, HAS_BIAS, ADDED_STRIDE, SLOPE)


def pointwise(
    maps: Sequence[Tensor],
    weight: Tensor,
    outputs: int,
    bias: Tensor | None,
    added: Tensor | None,
    slope: float,
    tile: tuple[int, ...] = (128, 4),
) -> Tensor:
    """Computes the 1x1 convolution of maps [n, C_j, h, w], joined: [n, outputs, h, w], channels
    last. Sums are in float32 and rounded once.

    Args:
        maps: those that are not channels last are copied.
        weight: of `pack_pointwise`, of the maps' type.
        bias: [outputs].
        added: [n, outputs, h, w], before the activation.
        slope: of negative results, 0 for ReLU, 1 for nothing.
        tile: the pixels and warps of a program.

    Raises:
        ValueError: too many maps or outputs, or tensors that do not fit each other.
    """
    channels = [x.shape[1] for x in maps]
    shape = (maps[0].shape[0], outputs, *maps[0].shape[2:])
    starts = _expect(maps, weight, added, shape)
    laid = [pixels_last(x) for x in maps]
    plus = None if added is None else pixels_last(added)
    out = empty_pixels_last(shape, maps[0])
    if not (pixels := out.numel() // outputs):
        return out
    spare = MOST_MAPS.value - len(maps)
    block, warps = max(16, launch.block(tile[0], pixels)), tile[1]
    pointwise_kernel[(triton.cdiv(pixels, block),)](
        (*laid, *[laid[0]] * spare),
        weight,
        weight if bias is None else bias,
        out if plus is None else plus,
        out,
        pixels,
        CHANNELS=(*channels, *[0] * spare),
        STRIDES=(*[x.stride(3) for x in laid], *[0] * spare),
        STARTS=(*starts, *[0] * spare),
        CHUNK=chunk_of(channels),
        O=outputs,
        COLUMNS=padded(outputs),
        HAS_BIAS=bias is not None,
        ADDED_STRIDE=0 if plus is None else plus.stride(3),
        SLOPE=slope,
        BLOCK=block,
        num_warps=warps,
        num_stages=1,
    )
    return out


def _expect(
    maps: Sequence[Tensor], weight: Tensor, added: Tensor | None, shape: tuple[int, ...]
) -> list[int]:
    """Gives the rows at which the maps begin. Raises ValueError as `pointwise` does."""
    if not 1 <= len(maps) <= MOST_MAPS.value or shape[1] > MOST_OUTPUTS:
        raise ValueError(
            f"{len(maps)} maps and {shape[1]} outputs: at most {MOST_MAPS.value}, {MOST_OUTPUTS}"
        )
    if any((x.shape[0], *x.shape[2:]) != (shape[0], *shape[2:]) for x in maps):
        raise ValueError(f"maps of different sizes: {[tuple(x.shape) for x in maps]}")
    *starts, rows = row_starts([x.shape[1] for x in maps])
    if weight.shape != (rows, padded(shape[1])) or (added is not None and added.shape != shape):
        raise ValueError(f"a weight {tuple(weight.shape)} or a sum that does not fit {shape}")
    return starts
