"""3x3 convolutions run in groups of up to 16 channels, with a 1x1 convolution behind them in the
same pass.

A window's row is one product: the pixels left of, at and right of a column, 16 channels each, stand
side by side in 64 values (the last 16 are zeros), and multiply 64 rows of the weight. A window has
three rows, and each row of the input is read once for the three output rows that it belongs to:

    input row      0       1       2       3
    output row 0   above   middle  below
    output row 1           above   middle  below

With 4 channels in a group, values 0 to 3, 16 to 19 and 32 to 35 of the 64 are pixels, the others 0.
"""

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from pcsr.runtime.kernels import launch
from pcsr.runtime.kernels.packed import padded

from .layout import GROUP, WINDOW, empty_pixels_last, pixels_last
from .pointwise import MOST_OUTPUTS, activated, end


@dataclass(frozen=True)
class Projection:
    """A 1x1 convolution that takes the result."""

    weight: Tensor
    """[16 * groups, outputs padded], of `pack_projection`."""
    outputs: int
    bias: Tensor | None = None
    """[outputs]."""
    added: Tensor | None = None
    """[n, outputs, h, w], added before the activation."""
    slope: float = 1
    """The slope of negative results: 0 for ReLU, 1 for nothing."""


@triton.jit
def _window(x, row, height, width, column, STRIDE: tl.constexpr, C: tl.constexpr):
    """Loads the pixels left of, at and right of each column, or 0: [pixels, WINDOW]."""
    k = tl.arange(0, WINDOW)
    at, channel = column[:, None] + (k // 16)[None, :] - 1, (k % 16)[None, :]
    inside = (at >= 0) & (at < width) & (channel < C) & (k < 48)[None, :]
    inside = inside & (row >= 0) & (row < height)
    place = x + row.to(tl.int64) * width * STRIDE + (at * STRIDE + channel)
    return tl.load(place, mask=inside, other=0.0)


@triton.jit
def _rows_of_group(
    x, weight, place, STRIDE: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr
):
    """Computes ROWS rows of one group from `first` on: a tuple of [BLOCK, 16] float32.

    place: (first, height, width, column).
    """
    first, height, width, column = place
    k, o = tl.arange(0, WINDOW), tl.arange(0, 16)
    rows = weight + k[:, None] * 16 + o[None, :]
    above, middle = tl.load(rows), tl.load(rows + WINDOW * 16)
    below = tl.load(rows + WINDOW * 32)
    zeros = tl.zeros((BLOCK, 16), dtype=tl.float32)
    a, b, c = zeros, zeros, zeros  # sums of the rows that the next window belongs to
    done = ()
    near = _window(x, first - 1, height, width, column, STRIDE, C)
    for i in tl.static_range(ROWS + 2):
        ahead = near
        if i < ROWS + 1:  # loaded before it is needed
            ahead = _window(x, first + i, height, width, column, STRIDE, C)
        if i >= 2:
            a = tl.dot(near, below, acc=a, input_precision="ieee", out_dtype=tl.float32)
            done = done + (a,)  # type: ignore[assignment]
        if (i >= 1) & (i <= ROWS):
            b = tl.dot(near, middle, acc=b, input_precision="ieee", out_dtype=tl.float32)
        if i < ROWS:
            c = tl.dot(near, above, acc=c, input_precision="ieee", out_dtype=tl.float32)
        a, b, c = b, c, zeros
        near = ahead
    return done


@triton.jit
def _product(
    done,
    bias,
    projection_weight,
    sums,
    O: tl.constexpr,  # noqa: E741
    HAS_BIAS: tl.constexpr,
    SLOPE: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Gives sums + act(done + bias), rounded to the weight's type, @ the group's rows of the
    weight, for each row.
    """
    column = tl.arange(0, COLUMNS)
    of = tl.load(projection_weight + tl.arange(0, 16)[:, None] * COLUMNS + column[None, :])
    out, o = (), tl.arange(0, 16)
    for r in tl.static_range(ROWS):
        x = done[r]
        if HAS_BIAS:
            x += tl.load(bias + o, mask=o < O, other=0.0).to(tl.float32)[None, :]
        x = activated(x, SLOPE).to(of.dtype)
        y = tl.dot(x, of, acc=sums[r], input_precision="ieee", out_dtype=tl.float32)
        out = out + (y,)  # type: ignore[assignment]
    return out


@triton.jit(do_not_specialize=["height", "width"])
def grouped_kernel(
    x,
    weight,
    bias,
    projection_weight,
    projection_bias,
    added,
    out,
    height,
    width,
    GROUPS: tl.constexpr,
    STRIDE: tl.constexpr,
    C: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    HAS_BIAS: tl.constexpr,
    SLOPE: tl.constexpr,
    PROJECTION: tl.constexpr,
    COLUMNS: tl.constexpr,
    HAS_PROJECTION_BIAS: tl.constexpr,
    ADDED_STRIDE: tl.constexpr,
    PROJECTION_SLOPE: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Computes ROWS rows of BLOCK pixels: y = act(conv3x3(x) + bias) of one group, or of all groups
    with a 1x1 convolution behind, act(y @ projection_weight + projection_bias + added).

    C, O: channels of a group of x and of the result. PROJECTION: outputs of the 1x1 convolution, 0
    where there is none.
    """
    PARTS: tl.constexpr = 1 if PROJECTION > 0 else GROUPS
    part, tile = tl.program_id(0) % PARTS, tl.program_id(0) // PARTS
    across, down = tl.cdiv(width, BLOCK), tl.cdiv(height, ROWS)
    begin, strip = (tile % across) * BLOCK, tile // across
    first, image = (strip % down) * ROWS, (strip // down).to(tl.int64) * height
    pixel = tl.arange(0, BLOCK)
    column, mask = begin + pixel, begin + pixel < width
    x += image * width * STRIDE
    place = (first, height, width, column)
    if PROJECTION > 0:
        sums = ()
        for _ in tl.static_range(ROWS):
            sums = sums + (tl.zeros((BLOCK, COLUMNS), tl.float32),)  # type: ignore[assignment]
        for group in tl.static_range(GROUPS):
            of, own = weight + group * (3 * WINDOW * 16), bias + group * O
            done = _rows_of_group(x + group * C, of, place, STRIDE, C, BLOCK, ROWS)
            rows_of = projection_weight + group * 16 * COLUMNS
            sums = _product(done, own, rows_of, sums, O, HAS_BIAS, SLOPE, COLUMNS, ROWS)
        for r in tl.static_range(ROWS):
            end(
                sums[r],
                projection_bias,
                added,
                out,
                ((image + first + r) * width + begin, pixel, mask & (first + r < height)),
                PROJECTION,
                PROJECTION,
                COLUMNS,
                HAS_PROJECTION_BIAS,
                ADDED_STRIDE,
                PROJECTION_SLOPE,
            )
    else:
        of = weight + part * (3 * WINDOW * 16)
        done = _rows_of_group(x + part * C, of, place, STRIDE, C, BLOCK, ROWS)
        for r in tl.static_range(ROWS):
            end(
                done[r],
                bias + part * O,
                added,
                out + part * O,
                ((image + first + r) * width + begin, pixel, mask & (first + r < height)),
                O,
                GROUPS * O,
                16,
                HAS_BIAS,
                0,
                SLOPE,
            )


def grouped(
    x: Tensor,
    weight: Tensor,
    shape: tuple[int, int],
    bias: Tensor | None,
    slope: float,
    projection: Projection | None = None,
    tile: tuple[int, ...] = (64, 4, 4),
) -> Tensor:
    """Computes the 3x3 convolution, zeros past the border, in groups of C to O channels (up to 16):
    [n, groups * O or projection.outputs, h, w], channels last. Sums are in float32, rounded once,
    and once before the projection.

    Args:
        x: [n, groups * C, h, w]; it is copied if it is not channels last.
        weight: of `pack_grouped`, of the type of x.
        shape: (groups, O).
        bias: [groups * O].
        slope: of negative results, 0 for ReLU, 1 for nothing.
        tile: the pixels of a row, the rows and the warps of a program.

    Raises:
        ValueError: tensors that do not fit each other.
    """
    groups, outputs = shape
    count, channels, height, width = x.shape
    behind = projection or Projection(weight, 0)
    wide = behind.outputs or groups * outputs
    result = (count, wide, height, width)
    if channels % groups or max(channels // groups, outputs) > GROUP:
        raise ValueError(f"{channels} channels in {groups} groups, {outputs} out of each")
    launch.expect("weight", weight, x.dtype, (groups * 3 * WINDOW.value, GROUP))
    if behind.outputs > MOST_OUTPUTS:
        raise ValueError(f"a 1x1 convolution to {wide} outputs: at most {MOST_OUTPUTS}")
    if projection:
        expected = (groups * GROUP, padded(wide))
        launch.expect("1x1 convolution", projection.weight, x.dtype, expected)
    added = behind.added
    if added is not None and added.shape != result:
        raise ValueError(f"a sum {tuple(added.shape)} that does not fit {result}")
    x, out = pixels_last(x), empty_pixels_last(result, x)
    added = None if added is None else pixels_last(added)
    if not out.numel():
        return out
    most, rows, warps = tile
    block = max(16, min(most, launch.block(most, width)))
    strips = count * triton.cdiv(height, rows)
    parts = groups if projection is None else 1
    grouped_kernel[(parts * triton.cdiv(width, block) * strips,)](
        x,
        weight,
        weight if bias is None else bias,
        behind.weight,
        weight if behind.bias is None else behind.bias,
        out if added is None else added,
        out,
        height,
        width,
        GROUPS=groups,
        STRIDE=x.stride(3),
        C=channels // groups,
        O=outputs,
        HAS_BIAS=bias is not None,
        SLOPE=slope,
        PROJECTION=behind.outputs,
        COLUMNS=padded(wide),
        HAS_PROJECTION_BIAS=behind.bias is not None,
        ADDED_STRIDE=0 if added is None else added.stride(3),
        PROJECTION_SLOPE=behind.slope,
        BLOCK=block,
        ROWS=rows,
        num_warps=warps,
        num_stages=1,
    )
    return out
