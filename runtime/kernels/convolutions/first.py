"""Convolutions of images: few channels, any strides and type, read as they come, so that no copy in
another layout or type is written before.

The window of a pixel, C * side * side values, is one row of a matrix product. Its values are taken
in parts whose sizes are powers of two: 27 in a part of 32, 75 in parts of 64 and 16.
"""

from itertools import accumulate

import triton
import triton.language as tl
from torch import Tensor

from pcsr.runtime.kernels import launch
from pcsr.runtime.kernels.packed import padded

from .layout import empty_pixels_last
from .pointwise import MOST_OUTPUTS, end

MOST_CHANNELS, MOST_SIDE = 4, 7


@triton.jit
def _window(
    x,
    mean,
    place,
    k,
    C: tl.constexpr,
    SIDE: tl.constexpr,
    HAS_MEAN: tl.constexpr,
    OUT: tl.constexpr,
):
    """Loads the values k of the windows of pixels, less their mean, or 0: [pixels, values].

    place: (row, column [pixels], height, width, strides of channels, rows and columns). Value k is
    of column k % SIDE, channel k // SIDE % C and row k // SIDE // C of the window.
    """
    row, column, height, width, channel_step, row_step, column_step = place
    y = row + k // (SIDE * C) - SIDE // 2
    right = k % SIDE - SIDE // 2
    channel = k // SIDE % C
    rows = (k < C * SIDE * SIDE) & (y >= 0) & (y < height)
    start = channel.to(tl.int64) * channel_step + y.to(tl.int64) * row_step
    at = column[:, None] + right[None, :]
    inside = rows[None, :] & (at >= 0) & (at < width)
    pointer = x + start[None, :] + at * column_step
    if HAS_MEAN:
        shift = tl.load(mean + channel)
        near = tl.load(pointer, mask=inside, other=shift.to(x.dtype.element_ty)[None, :])
        return (near.to(tl.float32) - shift.to(tl.float32)[None, :]).to(OUT)
    return tl.load(pointer, mask=inside, other=0.0).to(OUT)


@triton.jit(do_not_specialize=["height", "width", "image_step", "channel_step", "row_step"])
def first_kernel(
    x,
    weight,
    bias,
    mean,
    out,
    height,
    width,
    image_step,
    channel_step,
    row_step,
    COLUMN_STEP: tl.constexpr,
    C: tl.constexpr,
    SIDE: tl.constexpr,
    STARTS: tl.constexpr,
    PARTS: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    COLUMNS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_MEAN: tl.constexpr,
    SLOPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Computes out = act(conv(x - mean) + bias) for BLOCK pixels of a row."""
    across = tl.cdiv(width, BLOCK)
    begin, line = tl.program_id(0) % across * BLOCK, tl.program_id(0) // across
    image, row = (line // height).to(tl.int64), line % height
    pixel, o = tl.arange(0, BLOCK), tl.arange(0, COLUMNS)
    place = (row, begin + pixel, height, width, channel_step, row_step, COLUMN_STEP)
    acc = tl.zeros((BLOCK, COLUMNS), dtype=tl.float32)
    KIND: tl.constexpr = weight.dtype.element_ty
    for part in tl.static_range(len(PARTS)):
        k = STARTS[part] + tl.arange(0, PARTS[part])
        near = _window(x + image * image_step, mean, place, k, C, SIDE, HAS_MEAN, KIND)
        of = tl.load(weight + k[:, None] * COLUMNS + o[None, :])
        acc = tl.dot(near, of, acc=acc, input_precision="ieee", out_dtype=tl.float32)
    to = (line.to(tl.int64) * width + begin, pixel, pixel < width - begin)
    end(acc, bias, out, out, to, O, O, COLUMNS, HAS_BIAS, 0, SLOPE)


def parts_of(values: int) -> tuple[int, ...]:
    """Gives powers of two, 16 to 64 each, whose sum holds so many values: 27 -> (32,), 75 -> (64,
    16).
    """
    parts = [64] * (values // 64)
    left = values % 64
    if left > 32 and left <= 48:
        parts += [32, 16]
    elif left:
        parts.append(padded(left))
    return tuple(parts)


def pack_first(weight: Tensor) -> Tensor:
    """Lays [O, C, side, side] out as the kernel reads it: [values, O padded], the values of a
    window row by row, within a row channel by channel, and zeros up to the sum of their parts.
    """
    outputs, values = weight.shape[0], weight[0].numel()
    packed = weight.new_zeros(sum(parts_of(values)), padded(outputs))
    packed[:values, :outputs] = weight.permute(2, 1, 3, 0).reshape(values, outputs)
    return packed


def first(
    x: Tensor,
    weight: Tensor,
    shape: tuple[int, int],
    bias: Tensor | None = None,
    mean: Tensor | None = None,
    slope: float = 1.0,
    tile: tuple[int, ...] = (128, 4),
) -> Tensor:
    """Computes the convolution of x - mean, zeros past the border, rounded to the weight's type:
    [n, outputs, h, w] of that type, channels last. Sums are in float32 and rounded once.

    Args:
        x: [n, C, h, w], up to 4 channels, of any type and strides.
        weight: of `pack_first`.
        shape: (outputs, side of the window: 3, 5 or 7).
        bias: [outputs].
        mean: [C], of the type of x.
        slope: of negative results, 0 for ReLU, 1 for nothing.
        tile: the pixels and warps of a program.

    Raises:
        ValueError: tensors that do not fit each other, or too many channels or outputs.
    """
    outputs, side = shape
    count, channels, height, width = x.shape
    parts = parts_of(channels * side * side)
    if channels > MOST_CHANNELS or outputs > MOST_OUTPUTS or side > MOST_SIDE or side % 2 == 0:
        raise ValueError(f"{channels} channels to {outputs}, a window of {side}: it is too large")
    launch.expect("weight", weight, weight.dtype, (sum(parts), padded(outputs)))
    if mean is not None:
        launch.expect("mean", mean, x.dtype, (channels,))
    out = empty_pixels_last((count, outputs, height, width), weight)
    if not out.numel():
        return out
    most, warps = tile
    block = max(16, min(most, launch.block(most, width)))
    first_kernel[(count * height * triton.cdiv(width, block),)](
        x,
        weight,
        weight if bias is None else bias,
        x if mean is None else mean,
        out,
        height,
        width,
        *x.stride()[:3],
        COLUMN_STEP=x.stride(3),
        C=channels,
        SIDE=side,
        STARTS=tuple(accumulate(parts, initial=0))[:-1],
        PARTS=parts,
        O=outputs,
        COLUMNS=padded(outputs),
        HAS_BIAS=bias is not None,
        HAS_MEAN=mean is not None,
        SLOPE=slope,
        BLOCK=block,
        num_warps=warps,
        num_stages=1,
    )
    return out
