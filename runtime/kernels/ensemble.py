"""The ensemble pass runs an upsampler with four neighbours, or one without a base, over all pixels
or a list.
"""

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
from .sparse import TILES
from .tiles import Tile, Work, run_fastest

LEAST_AREA = tl.constexpr(1e-9)


@triton.jit
def _beside(axis, side, NEIGHBOURS: tl.constexpr):
    """Gives the input pixel at one side (0 or 1) of each output pixel, and the offset to it; with
    one neighbour the nearest.
    """
    places, shares, size = axis
    if NEIGHBOURS > 1:
        places += (3 + side) * size
        shares += (2 + side) * size
    return tl.load(places), tl.load(shares)


@triton.jit
def _areas(rows, columns, NEIGHBOURS: tl.constexpr):
    """Adds up the areas between output pixels and their neighbours; 0 where there is one only."""
    areas = 0.0
    if NEIGHBOURS > 1:
        areas = _area(rows, columns, 0)
        for corner in tl.static_range(1, NEIGHBOURS):
            areas += _area(rows, columns, corner)
    return areas


@triton.jit
def _area(rows, columns, corner):
    """Gives the area between output pixels and one of their four neighbours, a little more."""
    _, row_offset = _beside(rows, corner // 2, 4)
    _, column_offset = _beside(columns, corner % 2, 4)
    return tl.abs(row_offset * column_offset) + LEAST_AREA


@triton.jit
def _bilinear(image, plane, rows, columns, lr_width):
    """Interpolates the three colours of output pixels, and a zero: [N, 4]."""
    row_places, row_shares, height = rows
    column_places, column_shares, width = columns
    lower = tl.load(row_places + height).to(tl.int64) * lr_width
    upper = tl.load(row_places + 2 * height).to(tl.int64) * lr_width
    share = tl.load(row_shares + height)
    taps = (
        tl.load(column_places + width),
        tl.load(column_places + 2 * width),
        tl.load(column_shares + width),
    )
    found = ()
    for c in tl.static_range(3):
        of_colour = image + tl.cast(plane, tl.int64) * c
        above = across(of_colour + lower, taps)
        below = across(of_colour + upper, taps)
        found = found + (above + share * (below - above),)  # type: ignore[assignment]
    zero = tl.zeros_like(share)
    return four(found[0], found[1], found[2], zero)  # type: ignore[misc]


@triton.jit
def _colours(
    here,
    upsampler,
    offsets,
    held,
    SHAPE: tl.constexpr,
    HELD: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Runs the MLP at one neighbour of output pixels: the three colours and a zero, [BLOCK, 4]."""
    inputs, at, mask, row_offset, column_offset = here
    if SHAPE[0] > 0:
        a, b = at_columns(inputs, at, mask, column_offset, offsets, SHAPE, DTYPE)
        x, y = at_rows(a, b, row_offset[:, None], offsets, SHAPE, DTYPE)
        out = tl.zeros((BLOCK, OUTPUTS), dtype=tl.float32)
        out = mlp(x, y, out, upsampler[0], held, 0, SHAPE, HELD, DTYPE)
        colours = tl.sum(out.reshape(BLOCK, OUTPUTS // 4, 4), axis=1)
    else:
        found = ()
        for c in tl.static_range(3):
            value = linear(inputs, at, mask, c, row_offset, column_offset, upsampler[1])
            found = found + (value,)  # type: ignore[assignment]
        zero = tl.zeros_like(row_offset)
        colours = four(found[0], found[1], found[2], zero).reshape(BLOCK, 4)  # type: ignore[misc]
    return colours


@triton.jit(do_not_specialize=["total", "first", "top", "height", "width", "lr_width", "plane"])
def ensemble_kernel(
    band,
    upsampler,
    pixels,
    count,
    canvas,
    total,
    first,
    top,
    height,
    width,
    lr_width,
    plane,
    STRIDE: tl.constexpr,
    COLUMN: tl.constexpr,
    SHAPE: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    BASE: tl.constexpr,
    LISTED: tl.constexpr,
    DTYPE: tl.constexpr,
    HELD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Computes pixels, one tile of BLOCK after another: canvas[pixel] = sum over its neighbours of
    MLP * area of the neighbour diagonally opposite / sum of the areas, + bilinear base where BASE.
    Those of a list where LISTED, else all `total`. The other arguments are those of `ensemble`.
    """
    pre, image, row_places, row_shares, column_places, column_shares = band
    wanted = total
    if LISTED:
        wanted = tl.load(count)
    held = held_weights(upsampler[0], SHAPE, 1, HELD)
    offsets = offset_weights(upsampler[1], SHAPE, DTYPE)
    for tile in range(tl.program_id(0), tl.cdiv(wanted, BLOCK), tl.num_programs(0)):
        entry = tile * BLOCK + tl.arange(0, BLOCK)
        mask = entry < wanted
        pixel = tl.where(mask, entry, 0)
        if LISTED:
            pixel = tl.load(pixels + entry, mask=mask, other=0)
        row = pixel // width
        column = pixel - row * width
        rows = (row_places + first + row, row_shares + first + row, height)
        columns = (column_places + column, column_shares + column, width)
        out = tl.zeros((BLOCK, 4), dtype=tl.float32)
        if BASE:
            out = _bilinear(image, plane, rows, columns, lr_width).reshape(BLOCK, 4)
        areas = _areas(rows, columns, NEIGHBOURS)
        for corner in range(NEIGHBOURS):  # not unrolled: as few products as of one neighbour
            lr_row, row_offset = _beside(rows, corner // 2, NEIGHBOURS)
            lr_column, column_offset = _beside(columns, corner % 2, NEIGHBOURS)
            at = ((lr_row - top).to(tl.int64) * lr_width + lr_column) * STRIDE
            here = (pre + COLUMN, at, mask, row_offset, column_offset)
            colours = _colours(here, upsampler, offsets, held, SHAPE, HELD, DTYPE, BLOCK)
            if NEIGHBOURS > 1:
                share = _area(rows, columns, 3 - corner) / areas
                colours *= share[:, None]
            out += colours
        kind = tl.arange(0, 4)
        place = canvas + pixel.to(tl.int64)[:, None] * 3 + kind[None, :]
        tl.store(place, out, mask=mask[:, None] & (kind < 3)[None, :])


def ensemble(
    inputs: BandInputs,
    upsampler: int,
    listed: tuple[Tensor, Tensor] | None,
    canvas: Tensor,
    programs: int | None = None,
) -> None:
    """Overwrites the colours of all pixels, or of the listed ones, with those of one upsampler.

    Args:
        upsampler: its index, 0 is the heaviest.
        listed: pixels [n * W] int32, of which the first `count` are indices into the canvas's
            pixels, and count [1] int32; None: all.
        canvas: [n, W, 3] float32, the output rows from `inputs.first` on.
        programs: how many are launched; None: as many as the GPU runs at the same time.

    Raises:
        ValueError: a tensor is not of this kind.
    """
    own = inputs.mlps.upsamplers[upsampler]
    rows, width = inputs.check(canvas)
    count = None
    if listed is not None:
        pixels, count = listed
        expect("pixels", pixels, torch.int32, (rows * width,))
        expect("count", count, torch.int32, (1,))
    arguments = (
        inputs.tensors,
        (own.weights, own.vectors),
        *(listed or (None, None)),
        canvas,
        rows * width,
        inputs.first,
        inputs.top,
        *inputs.sizes,
    )
    constants = for_mlp(own) | {
        "STRIDE": inputs.pre.shape[1],
        "COLUMN": own.column,
        "SHAPE": own.shape,
        "NEIGHBOURS": own.neighbours,
        "BASE": own.has_base,
        "LISTED": listed is not None,
        "DTYPE": DTYPES[inputs.mlps.dtype],
    }

    def run(tile: Tile) -> None:
        options = constants | tile.options
        most = programs or programs_at_once(ensemble_kernel, canvas.device, *arguments, **options)
        ensemble_kernel[(most,)](*arguments, **options)

    work = Work("ensemble", canvas.device, rows * width, constants, count)
    run_fastest(work, tiles_for_mlp(rows * width, own, TILES), run)
