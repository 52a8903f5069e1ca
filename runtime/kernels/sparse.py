"""The sparse pass: a heavier upsampler over its list of pixels."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import launch
from .checks import expect
from .dense import check_pass
from .mlp import bilinear, colours, held_weights, mlp
from .packed import PackedMlps, Window


@triton.jit(do_not_specialize=["first", "top", "height", "width", "lr_width", "plane"])
def sparse_kernel(
    pre,
    image,
    constant,
    row_places,
    row_shares,
    column_places,
    column_shares,
    weights,
    vectors,
    pixels,
    count,
    canvas,
    first,
    top,
    height,
    width,
    lr_width,
    plane,
    STRIDE: tl.constexpr,
    COLUMN: tl.constexpr,
    LAYERS: tl.constexpr,
    A: tl.constexpr,
    B: tl.constexpr,
    DTYPE: tl.constexpr,
    HELD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Each program takes one tile of BLOCK pixels after another. Arguments as in `sparse`."""
    listed = tl.load(count)
    colour = tl.arange(0, 4)
    held = held_weights(weights, LAYERS, A, B, HELD)
    for tile in range(tl.program_id(0), tl.cdiv(listed, BLOCK), tl.num_programs(0)):
        entry = tile * BLOCK + tl.arange(0, BLOCK)
        mask = entry < listed
        pixel = tl.load(pixels + entry, mask=mask, other=0)
        row = pixel // width
        on_columns = column_places + (pixel - row * width)
        column_share = column_shares + (pixel - row * width)
        on_rows = row_places + first + row
        row_share = row_shares + first + row
        near = (tl.load(on_rows) - top).to(tl.int64) * lr_width + tl.load(on_columns)
        residual = mlp(
            pre + COLUMN,
            near * STRIDE,
            mask,
            constant + COLUMN,
            weights,
            held,
            vectors,
            tl.load(row_share)[:, None],
            tl.where(mask, tl.load(column_share), 0.0),
            LAYERS,
            A,
            B,
            HELD,
            DTYPE,
        )
        is_colour = mask[:, None] & (colour < 3)[None, :]
        base = bilinear(
            image,
            plane,
            (tl.load(on_rows + height).to(tl.int64) * lr_width)[:, None],
            (tl.load(on_rows + 2 * height).to(tl.int64) * lr_width)[:, None],
            tl.load(row_share + height)[:, None],
            tl.load(on_columns + width),
            tl.load(on_columns + 2 * width),
            tl.load(column_share + width),
            is_colour,
        )
        place = canvas + pixel.to(tl.int64)[:, None] * 3 + colour[None, :]
        tl.store(place, colours(residual, BLOCK) + base, mask=is_colour)


def sparse(
    window: Window,
    mlps: PackedMlps,
    upsampler: int,
    pre: Tensor,
    constant: Tensor,
    image: Tensor,
    pixels: Tensor,
    count: Tensor,
    canvas: Tensor,
    programs: int,
) -> None:
    """Overwrites the colours of the listed pixels with those of one upsampler.

    upsampler: its index, 0 is the heaviest. pixels: int32 [n * W], of which the first `count` (one
    int32 on the device) are indices into the canvas's pixels. programs: how many run at once, a
    small multiple of the GPU's multiprocessors. The rest as in `dense`.

    Raises:
        ValueError: a tensor is not of this kind.
    """
    axes, own = window.axes, mlps.upsamplers[upsampler]
    _, width, size = check_pass(window, mlps, pre, constant, image, canvas)
    expect("pixels", pixels, torch.int32, (size,))
    expect("count", count, torch.int32, (1,))
    how = launch.for_mlps(size, own)
    sparse_kernel[(programs,)](
        pre,
        image,
        constant,
        axes.rows.places,
        axes.rows.shares,
        axes.columns.places,
        axes.columns.shares,
        own.weights,
        own.vectors,
        pixels,
        count,
        canvas,
        window.first,
        window.top,
        len(axes.rows),
        width,
        image.shape[2],
        image.shape[1] * image.shape[2],
        STRIDE=pre.shape[1],
        COLUMN=own.column,
        LAYERS=own.layers,
        A=own.a,
        B=own.b,
        DTYPE=launch.DTYPES[mlps.dtype],
        HELD=how.held,
        BLOCK=how.block,
        **how.options,
    )
