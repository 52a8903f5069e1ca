"""3x3 convolutions in groups of 16 channels, and a 1x1 convolution behind them in the same pass."""

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from pcsr.runtime.kernels import launch

from .layout import empty_pixels_last, pixels_last
from .pointwise import MOST_OUTPUTS, activated, end, padded

GROUP = 16  # channels of a group
WINDOW = tl.constexpr(64)  # three pixels of 16 channels side by side, and 16 zeros


@dataclass(frozen=True)
class GroupedTile:
    """A program does `rows` rows of `block` pixels."""

    block: int = 64
    rows: int = 4
    warps: int = 4


@dataclass(frozen=True)
class Tail:
    """A 1x1 convolution of the result. weight: [16 * groups, O padded], of `pack_tail`. bias:
    [outputs]. added: [n, outputs, h, w], before the activation. slope: as in `grouped`.
    """

    weight: Tensor
    outputs: int
    bias: Tensor | None = None
    added: Tensor | None = None
    slope: float = 1


@triton.jit
def _window(x, row, height, width, column, STRIDE: tl.constexpr, C: tl.constexpr):
    """The pixels left of, at and right of each column: [pixels, WINDOW], zeros past the border."""
    k = tl.arange(0, WINDOW)
    at, channel = column[:, None] + (k // 16)[None, :] - 1, (k % 16)[None, :]
    inside = (at >= 0) & (at < width) & (channel < C) & (k < 48)[None, :]
    inside = inside & (row >= 0) & (row < height)
    place = x + row.to(tl.int64) * width * STRIDE + (at * STRIDE + channel)
    return tl.load(place, mask=inside, other=0.0)


@triton.jit
def _rows_of_group(
    x,
    weight,
    first,
    height,
    width,
    column,
    STRIDE: tl.constexpr,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """ROWS rows of one group from `first` on: a tuple of [BLOCK, 16] float32."""
    k, o = tl.arange(0, WINDOW), tl.arange(0, 16)
    place = weight + k[:, None] * 16 + o[None, :]
    above, middle, below = (
        tl.load(place),
        tl.load(place + WINDOW * 16),
        tl.load(place + WINDOW * 32),
    )
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
    tail_weight,
    sums,
    O: tl.constexpr,  # noqa: E741
    HAS_BIAS: tl.constexpr,
    SLOPE: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """sums + each row's result, rounded to the weight's type, @ the group's rows of the weight."""
    column = tl.arange(0, COLUMNS)
    of = tl.load(tail_weight + tl.arange(0, 16)[:, None] * COLUMNS + column[None, :])
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
    tail_weight,
    tail_bias,
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
    TAIL: tl.constexpr,
    COLUMNS: tl.constexpr,
    HAS_TAIL_BIAS: tl.constexpr,
    ADDED_STRIDE: tl.constexpr,
    TAIL_SLOPE: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """A program does ROWS rows of BLOCK pixels: of one group, or with a 1x1 convolution behind of
    all. C, O: channels of a group of x and of the result. TAIL: outputs of the 1x1 convolution, 0
    where there is none.
    """
    PARTS: tl.constexpr = 1 if TAIL > 0 else GROUPS
    part, tile = tl.program_id(0) % PARTS, tl.program_id(0) // PARTS
    across, down = tl.cdiv(width, BLOCK), tl.cdiv(height, ROWS)
    begin, strip = (tile % across) * BLOCK, tile // across
    first, image = (strip % down) * ROWS, (strip // down).to(tl.int64) * height
    pixel = tl.arange(0, BLOCK)
    column, mask = begin + pixel, begin + pixel < width
    x += image * width * STRIDE
    if TAIL > 0:
        sums = ()
        for _ in tl.static_range(ROWS):
            sums = sums + (tl.zeros((BLOCK, COLUMNS), tl.float32),)  # type: ignore[assignment]
        for group in tl.static_range(GROUPS):
            of, own = weight + group * (3 * WINDOW * 16), bias + group * O
            done = _rows_of_group(
                x + group * C, of, first, height, width, column, STRIDE, C, BLOCK, ROWS
            )
            rows_of = tail_weight + group * 16 * COLUMNS
            sums = _product(done, own, rows_of, sums, O, HAS_BIAS, SLOPE, COLUMNS, ROWS)
        for r in tl.static_range(ROWS):
            end(
                sums[r],
                tail_bias,
                added,
                out,
                (image + first + r) * width + begin,
                pixel,
                mask & (first + r < height),
                TAIL,
                TAIL,
                COLUMNS,
                HAS_TAIL_BIAS,
                ADDED_STRIDE,
                TAIL_SLOPE,
            )
    else:
        of = weight + part * (3 * WINDOW * 16)
        done = _rows_of_group(
            x + part * C, of, first, height, width, column, STRIDE, C, BLOCK, ROWS
        )
        for r in tl.static_range(ROWS):
            end(
                done[r],
                bias + part * O,
                added,
                out + part * O,
                (image + first + r) * width + begin,
                pixel,
                mask & (first + r < height),
                O,
                GROUPS * O,
                16,
                HAS_BIAS,
                0,
                SLOPE,
            )


def pack_grouped(weight: Tensor, groups: int) -> Tensor:
    """[O, C, 3, 3] as the kernel reads it: [groups * 3 * 64, 16], for every group and row of the
    window three pixels of 16 channels and 16 zeros. Up to 16 channels in and out per group.
    """
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    packed = weight.new_zeros(groups, 3, WINDOW.value // GROUP, GROUP, GROUP)
    parts = weight.reshape(groups, outputs, inputs, 3, 3)
    packed[:, :, :3, :inputs, :outputs] = parts.permute(0, 3, 4, 2, 1)
    return packed.reshape(-1, GROUP)


def pack_tail(weight: Tensor, groups: int) -> Tensor:
    """[O, C, 1, 1] as the kernel reads it: [16 * groups, O padded]."""
    outputs, inputs = weight.shape[0], weight.shape[1] // groups
    packed = weight.new_zeros(groups, GROUP, padded(outputs))
    packed[:, :inputs, :outputs] = weight.reshape(outputs, groups, inputs).permute(1, 2, 0)
    return packed.reshape(groups * GROUP, -1)


def grouped(
    x: Tensor,
    weight: Tensor,
    shape: tuple[int, int],
    bias: Tensor | None,
    slope: float,
    tail: Tail | None = None,
    tile: GroupedTile = GroupedTile(),
) -> Tensor:
    """The 3x3 convolution of x [n, groups * C, h, w], zeros past the border, in groups of C to O
    channels (up to 16) -> [n, groups * O or tail.outputs, h, w], channels last.

    Sums in float32, rounded once, and once before the tail. weight: of `pack_grouped`, of the type
    of x. shape: (groups, O). bias: [groups * O]. slope: of negative results, 0 for ReLU, 1 for
    nothing. x is copied if it is not channels last.

    Raises:
        ValueError: tensors that do not fit each other.
    """
    groups, outputs = shape
    count, channels, height, width = x.shape
    wide = groups * outputs if tail is None else tail.outputs
    added = None if tail is None else tail.added
    result = (count, wide, height, width)
    if weight.shape != (groups * 3 * WINDOW.value, GROUP) or channels % groups or outputs > GROUP:
        raise ValueError(f"{channels} channels in {groups} groups, weight {tuple(weight.shape)}")
    if channels // groups > GROUP or (added is not None and added.shape != result):
        raise ValueError(f"{channels} channels in {groups} groups, or a sum that is not {result}")
    if tail and (
        tail.outputs > MOST_OUTPUTS or tail.weight.shape != (groups * GROUP, padded(wide))
    ):
        raise ValueError(f"a 1x1 convolution to {wide} outputs, weight {tuple(tail.weight.shape)}")
    x, out = pixels_last(x), empty_pixels_last(result, x)
    plus = None if added is None else pixels_last(added)
    if not out.numel():
        return out
    block = max(16, min(tile.block, launch.block(tile.block, width)))
    strips = count * triton.cdiv(height, tile.rows)
    parts = groups if tail is None else 1
    grouped_kernel[(parts * triton.cdiv(width, block) * strips,)](
        x,
        weight,
        weight if bias is None else bias,
        weight if tail is None else tail.weight,
        weight if tail is None or tail.bias is None else tail.bias,
        out if plus is None else plus,
        out,
        height,
        width,
        GROUPS=groups,
        STRIDE=x.stride(3),
        C=channels // groups,
        O=outputs,
        HAS_BIAS=bias is not None,
        SLOPE=slope,
        TAIL=0 if tail is None else wide,
        COLUMNS=padded(wide),
        HAS_TAIL_BIAS=tail is not None and tail.bias is not None,
        ADDED_STRIDE=0 if plus is None else plus.stride(3),
        TAIL_SLOPE=1 if tail is None else tail.slope,
        BLOCK=block,
        ROWS=tile.rows,
        num_warps=tile.warps,
        num_stages=1,
    )
    return out
