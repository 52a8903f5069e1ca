"""What the dense kernel computes of a tile: the MLPs, the colours between input pixels, and logits
of a classifier that is its first layer only.
"""

import triton
import triton.language as tl

from .mlp import OUTPUTS, across, at_columns, at_rows, four, linear, mlp


@triton.jit
def deep_outputs(
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
def colour(
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
def linear_logits(
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
