"""The dense pass gives every output pixel its logits and the lightest upsampler's colours."""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from .band_inputs import BandInputs
from .launch import DTYPES, expect, for_mlp
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
from .packed import PackedMlp


@triton.jit
def _deep(
    inputs,
    row_of,
    columns,
    of,
    offsets,
    held,
    STRIDE: tl.constexpr,
    SHAPE: tl.constexpr,
    HELD: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
    GROUP: tl.constexpr,
    SPAN: tl.constexpr,
):
    """Runs the MLPs side by side for GROUP output rows of BLOCK columns: [BLOCK, OUTPUTS] float32,
    a row's outputs behind those of the row above. SPAN rows lie on one input row.
    """
    pre, row_places, row_shares, top, lr_width = inputs
    begin, first, rows = row_of
    nearest, column_offset, mask = columns
    out = tl.zeros((BLOCK, OUTPUTS), dtype=tl.float32)
    if HELD:
        for r in tl.static_range(GROUP):
            row = first + tl.minimum(tl.maximum(begin + r, 0), rows - 1)
            if r % SPAN == 0:
                lr_row = tl.load(row_places + row) - top
                at = (lr_row.to(tl.int64) * lr_width + nearest) * STRIDE
                a, b = at_columns(pre, at, mask, column_offset, offsets, SHAPE, DTYPE)
            x, y = at_rows(a, b, tl.load(row_shares + row), offsets, SHAPE, DTYPE)
            out = mlp(x, y, out, of, held, r, SHAPE, HELD, DTYPE)
    else:
        for r in range(GROUP):  # not unrolled: so many products would not fit the registers
            row = first + tl.minimum(tl.maximum(begin + r, 0), rows - 1)
            lr_row = tl.load(row_places + row) - top
            at = (lr_row.to(tl.int64) * lr_width + nearest) * STRIDE
            a, b = at_columns(pre, at, mask, column_offset, offsets, SHAPE, DTYPE)
            x, y = at_rows(a, b, tl.load(row_shares + row), offsets, SHAPE, DTYPE)
            out = mlp(x, y, out, of, held, r, SHAPE, HELD, DTYPE)
    return out


@triton.jit
def _colour(
    c,
    inputs,
    image,
    row_of,
    columns,
    taps,
    light,
    height,
    STRIDE: tl.constexpr,
    BLOCK: tl.constexpr,
    GROUP: tl.constexpr,
    TAPS: tl.constexpr,
    SLOT: tl.constexpr,
    LINEAR: tl.constexpr,
):
    """Interpolates colour c of GROUP rows: [BLOCK, 4], SLOT / 4 of them apart, else 0; where the
    upsampler is its first layer only, with that. TAPS rows lie between the same input rows.
    """
    pre, row_places, row_shares, top, lr_width = inputs
    begin, first, rows = row_of
    nearest, column_offset, mask = columns
    zero = tl.zeros_like(column_offset)
    found = ()
    for q in tl.static_range(4):
        if q % (SLOT // 4) == 0 and q // (SLOT // 4) < GROUP:
            row = first + tl.minimum(tl.maximum(begin + q // (SLOT // 4), 0), rows - 1)
            if q // (SLOT // 4) % TAPS == 0:
                lower = tl.load(row_places + height + row).to(tl.int64) * lr_width
                upper = tl.load(row_places + 2 * height + row).to(tl.int64) * lr_width
                above = across(image + lower, taps)
                below = across(image + upper, taps)
            value = above + tl.load(row_shares + height + row) * (below - above)
            if LINEAR >= 0:
                lr_row = tl.load(row_places + row) - top
                at = (lr_row.to(tl.int64) * lr_width + nearest) * STRIDE
                offset = tl.load(row_shares + row)
                value += linear(pre + LINEAR, at, mask, c, offset, column_offset, light)
            found = found + (value,)  # type: ignore[assignment]
        else:
            found = found + (zero,)  # type: ignore[assignment]
    return four(found[0], found[1], found[2], found[3]).reshape(BLOCK, 4)  # type: ignore[misc]


@triton.jit
def _linear_logits(
    inputs,
    row_of,
    columns,
    column,
    vectors,
    logits,
    pixels,
    width,
    STRIDE: tl.constexpr,
    CLASSES: tl.constexpr,
    COLUMN: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Stores the logits of GROUP rows where the classifier is its first layer only."""
    pre, row_places, row_shares, top, lr_width = inputs
    begin, first, rows = row_of
    nearest, column_offset, mask = columns
    for r in tl.static_range(GROUP):
        inside = (begin + r >= 0) & (begin + r < rows)
        row = first + tl.minimum(tl.maximum(begin + r, 0), rows - 1)
        lr_row = tl.load(row_places + row) - top
        at = (lr_row.to(tl.int64) * lr_width + nearest) * STRIDE
        offset = tl.load(row_shares + row)
        start = (row - first).to(tl.int64) * width
        for c in tl.static_range(CLASSES):
            out = linear(pre + COLUMN, at, mask, c, offset, column_offset, vectors)
            place = logits + tl.cast(pixels, tl.int64) * c + start
            tl.store(place + column, out, mask=mask & inside)


@triton.jit(
    do_not_specialize=["first", "top", "rows", "pixels", "height", "width", "lr_width", "plane"]
)
def dense_kernel(
    band,
    deep,
    light,
    classifier,
    canvas,
    logits,
    first,
    top,
    rows,
    pixels,
    height,
    width,
    lr_width,
    plane,
    STRIDE: tl.constexpr,
    CLASSES: tl.constexpr,
    DEEP_COLUMN: tl.constexpr,
    SHAPE: tl.constexpr,
    LIGHT_COLUMN: tl.constexpr,
    CLASS_COLUMN: tl.constexpr,
    DTYPE: tl.constexpr,
    HELD: tl.constexpr,
    BLOCK: tl.constexpr,
    SLOT: tl.constexpr,
    GROUP: tl.constexpr,
    SPAN: tl.constexpr,
    TAPS: tl.constexpr,
):
    """Computes tiles of GROUP output rows and BLOCK columns, one after another: canvas = lightest
    upsampler's MLP + bilinear base, logits = classifier's MLP. The arguments are those of `dense`.

    A row has SLOT of the 16 values that a product has per column: its colours, then its logits.
    """
    pre, image, row_places, row_shares, column_places, column_shares = band
    n = tl.arange(0, OUTPUTS)
    kind = n % SLOT
    OWN: tl.constexpr = CLASSES if CLASS_COLUMN < 0 else 0  # logits among the 16
    tiles_across = tl.cdiv(width, BLOCK)
    lead = first % GROUP
    if SHAPE[0] > 0:
        held = held_weights(deep[0], SHAPE, OUTPUTS // SLOT, HELD)
        offsets = offset_weights(deep[1], SHAPE, DTYPE)
    inputs = (pre, row_places, row_shares, top, lr_width)
    tiles = tiles_across * tl.cdiv(rows + lead, GROUP)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        column = (tile % tiles_across) * BLOCK + tl.arange(0, BLOCK)
        mask = column < width
        row_of = (tile // tiles_across * GROUP - lead, first, rows)
        nearest = tl.load(column_places + column, mask=mask, other=0)
        taps = (
            tl.load(column_places + width + column, mask=mask, other=0),
            tl.load(column_places + 2 * width + column, mask=mask, other=0),
            tl.load(column_shares + width + column, mask=mask, other=0.0),
        )
        columns = (nearest, tl.load(column_shares + column, mask=mask, other=0.0), mask)
        base = ()
        for c in tl.static_range(3):
            base = base + (  # type: ignore[assignment]
                _colour(
                    c,
                    inputs,
                    image + tl.cast(plane, tl.int64) * c,
                    row_of,
                    columns,
                    taps,
                    light,
                    height,
                    STRIDE,
                    BLOCK,
                    GROUP,
                    TAPS,
                    SLOT,
                    LIGHT_COLUMN,
                ),
            )
        zero = tl.zeros_like(base[0])  # type: ignore[misc]
        out = four(base[0], base[1], base[2], zero).reshape(BLOCK, OUTPUTS)  # type: ignore[misc]
        if SHAPE[0] > 0:
            out += _deep(
                (pre + DEEP_COLUMN, row_places, row_shares, top, lr_width),
                row_of,
                columns,
                deep[0],
                offsets,
                held,
                STRIDE,
                SHAPE,
                HELD,
                DTYPE,
                BLOCK,
                GROUP,
                SPAN,
            )
        row = row_of[0] + n // SLOT
        start = row.to(tl.int64) * width
        wanted = (row >= 0) & (row < rows) & (kind < 3 + OWN) & (n // SLOT < GROUP)
        to = canvas + (start * 3 + kind)
        step = tl.full((OUTPUTS,), 3, tl.int32)
        if OWN > 0:
            to = tl.where(kind < 3, to, logits + (tl.cast(pixels, tl.int64) * (kind - 3) + start))
            step = tl.where(kind < 3, 3, 1)
        place = to[None, :] + column[:, None] * step[None, :]
        tl.store(place, out, mask=mask[:, None] & wanted[None, :])
        if CLASS_COLUMN >= 0:
            _linear_logits(
                inputs,
                row_of,
                columns,
                column,
                classifier,
                logits,
                pixels,
                width,
                STRIDE,
                CLASSES,
                CLASS_COLUMN,
                GROUP,
            )


def dense(
    inputs: BandInputs, canvas: Tensor, logits: Tensor | None, programs: int | None = None
) -> None:
    """Writes every pixel's logits, and its colours by the lightest upsampler.

    Args:
        canvas: [n, W, 3] float32, the output rows from `inputs.first` on.
        logits: [K, n * W] float32, heaviest first (K = 1 for M = 2); None for M = 1.
        programs: how many are launched; None: as many as the GPU runs at the same time.

    Raises:
        ValueError: a tensor is not of this kind, or the band has some 2^31 pixels or more.
    """
    mlps = inputs.mlps
    rows, width = inputs.check(canvas)
    if (logits is None) != (mlps.classes == 0):
        raise ValueError("logits are for M > 1, where there is a classifier")
    if logits is not None:
        expect("logits", logits, torch.float32, (mlps.classes, rows * width))
    spare = mlps.dense or mlps.light
    assert spare is not None
    deep, light, classifier = (part or spare for part in (mlps.dense, mlps.light, mlps.classifier))
    arguments = (
        inputs.tensors,
        (deep.weights, deep.vectors),
        light.vectors,
        classifier.vectors,
        canvas,
        canvas if logits is None else logits,
        inputs.first,
        inputs.top,
        rows,
        rows * width,
        *inputs.sizes,
    )
    options = (
        for_mlp(width, deep)
        | _rows_together(inputs, deep)
        | {
            "STRIDE": inputs.pre.shape[1],
            "CLASSES": mlps.classes,
            "DEEP_COLUMN": deep.column,
            "SHAPE": deep.shape,
            "LIGHT_COLUMN": _column(mlps.light),
            "CLASS_COLUMN": _column(mlps.classifier),
            "DTYPE": DTYPES[mlps.dtype],
        }
    )
    if programs is None:
        programs = programs_at_once(dense_kernel, canvas.device, *arguments, **options)
    tiles = triton.cdiv(width, options["BLOCK"]) * triton.cdiv(rows, options["GROUP"]) + 1
    dense_kernel[(min(programs, tiles),)](*arguments, **options)


def _column(mlp: PackedMlp | None) -> int:
    return -1 if mlp is None else mlp.column


def _rows_together(inputs: BandInputs, deep: PackedMlp) -> dict[str, int]:
    """Chooses how many rows a tile has, and how many of them share what they are made from."""
    slot = OUTPUTS.value // deep.places if deep.layers else 4
    axis, group = inputs.grid.rows, OUTPUTS.value // slot
    if group == 4 and axis.nearest_run == 3:
        group = 3
    span, taps = math.gcd(group, axis.nearest_run), math.gcd(group, axis.taps_run)
    return {"SLOT": slot, "GROUP": group, "SPAN": span, "TAPS": taps}
