"""The sparse pass runs a heavier upsampler over its list of pixels."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import DTYPES, BandInputs, expect, for_mlp, tiles_for_mlp
from .mlp import (
    OUTPUTS,
    across,
    at_columns,
    at_rows,
    four,
    held_weights,
    linear,
    mlp,
    offset_weights,
)
from .occupancy import programs_at_once
from .tiles import Tile, Work, run_fastest

TILES = (Tile(64, 4), Tile(64, 2), Tile(128, 8))  # that are tried beside the first


@triton.jit(do_not_specialize=["first", "top", "height", "width", "lr_width", "plane"])
def sparse_kernel(
    band,
    upsampler,
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
    SHAPE: tl.constexpr,
    DTYPE: tl.constexpr,
    HELD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Computes listed pixels, one tile of BLOCK after another: canvas[pixel] =
    upsampler's MLP + bilinear base. The arguments are those of `sparse`.
    """
    pre, image, row_places, row_shares, column_places, column_shares = band
    listed = tl.load(count)
    if SHAPE[0] > 0:
        held = held_weights(upsampler[0], SHAPE, 1, HELD)
        offsets = offset_weights(upsampler[1], SHAPE, DTYPE)
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
        at = near * STRIDE
        row_offset, column_offset = tl.load(row_share), tl.load(column_share)
        lower = tl.load(on_rows + height).to(tl.int64) * lr_width
        upper = tl.load(on_rows + 2 * height).to(tl.int64) * lr_width
        below_share = tl.load(row_share + height)
        taps = (
            tl.load(on_columns + width),
            tl.load(on_columns + 2 * width),
            tl.load(column_share + width),
        )
        base = ()
        for c in tl.static_range(3):
            of_colour = image + tl.cast(plane, tl.int64) * c
            above = across(of_colour + lower, taps)
            value = above + below_share * (across(of_colour + upper, taps) - above)
            if SHAPE[0] == 0:
                inputs = pre + COLUMN
                value += linear(inputs, at, mask, c, row_offset, column_offset, upsampler[1])
            base = base + (value,)  # type: ignore[assignment]
        zero = tl.zeros_like(base[0])  # type: ignore[misc]
        out = four(base[0], base[1], base[2], zero).reshape(BLOCK, 4)  # type: ignore[misc]
        kind = tl.arange(0, 4)
        if SHAPE[0] > 0:
            a, b = at_columns(pre + COLUMN, at, mask, column_offset, offsets, SHAPE, DTYPE)
            x, y = at_rows(a, b, row_offset[:, None], offsets, SHAPE, DTYPE)
            residual = tl.zeros((BLOCK, OUTPUTS), dtype=tl.float32)
            residual = mlp(x, y, residual, upsampler[0], held, 0, SHAPE, HELD, DTYPE)
            out += tl.sum(residual.reshape(BLOCK, OUTPUTS // 4, 4), axis=1)
        place = canvas + pixel.to(tl.int64)[:, None] * 3 + kind[None, :]
        tl.store(place, out, mask=mask[:, None] & (kind < 3)[None, :])


def sparse(
    inputs: BandInputs,
    upsampler: int,
    pixels: Tensor,
    count: Tensor,
    canvas: Tensor,
    programs: int | None = None,
) -> None:
    """Overwrites the colours of the listed pixels with those of one upsampler.

    Args:
        upsampler: its index, 0 is the heaviest.
        pixels: [n * W] int32, of which the first `count` are indices into the canvas's pixels.
        count: [1] int32.
        canvas: [n, W, 3] float32, the output rows from `inputs.first` on.
        programs: how many are launched; None: as many as the GPU runs at the same time.
    """
    own = inputs.mlps.upsamplers[upsampler]
    rows, width = inputs.check(canvas)
    expect("pixels", pixels, torch.int32, (rows * width,))
    expect("count", count, torch.int32, (1,))
    arguments = (
        inputs.tensors,
        (own.weights, own.vectors),
        pixels,
        count,
        canvas,
        inputs.first,
        inputs.top,
        *inputs.sizes,
    )
    constants = for_mlp(own) | {
        "STRIDE": inputs.pre.shape[1],
        "COLUMN": own.column,
        "SHAPE": own.shape,
        "DTYPE": DTYPES[inputs.mlps.dtype],
    }

    def run(tile: Tile) -> None:
        options = constants | tile.options
        most = programs or programs_at_once(sparse_kernel, canvas.device, *arguments, **options)
        sparse_kernel[(most,)](*arguments, **options)

    work = Work("sparse", canvas.device, rows * width, constants, count)
    run_fastest(work, tiles_for_mlp(rows * width, own, TILES), run)
