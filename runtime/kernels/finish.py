"""The last pass refines beside heavy regions and converts to the output's dtype."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import BLOCK, block, expect, expect_band

PEAKS = {torch.uint8: 255, torch.uint16: 65535, torch.float32: 0}


@triton.jit
def _refined(canvas, labels, value, mask, column, width, on_row, refine_below):
    """Gives `value`, or the 3x3 mean where a light pixel lies beside a heavy one.

    labels, canvas: pointers to each element's own. on_row: whether the row is inside the frame.
    """
    inside = mask & (column > 0) & (column < width - 1) & on_row
    own = tl.load(labels, mask=inside, other=0).to(tl.int32)
    least = own
    for y in tl.static_range(-1, 2):
        for x in tl.static_range(-1, 2):
            if x != 0 or y != 0:
                other = tl.load(labels + (y * width + x), mask=inside, other=255)
                least = tl.minimum(least, other.to(tl.int32))
    changed = inside & (own >= refine_below) & (least < refine_below)
    if tl.max(changed.to(tl.int32), axis=0) > 0:
        total = tl.zeros_like(value)
        for y in tl.static_range(-1, 2):
            line = canvas + y * 3 * width
            left = tl.load(line - 3, mask=changed, other=0.0)
            right = tl.load(line + 3, mask=changed, other=0.0)
            total += left + tl.load(line, mask=changed, other=0.0) + right
        value = tl.where(changed, total * (1.0 / 9.0), value)
    return value


@triton.jit
def _rounded(value, PEAK: tl.constexpr):
    """Rounds value * PEAK to an integer from 0 to PEAK, halves to the even one; a NaN is 0. Values
    below 2^24 are rounded exactly, and no compiler may take this apart as it may the sum with a
    large number.
    """
    scaled = value * PEAK
    scaled = tl.where(scaled > 0, scaled, 0.0)
    scaled = tl.where(scaled < PEAK, scaled, PEAK * 1.0)
    whole = scaled.to(tl.int32)
    part = scaled - whole.to(tl.float32)
    is_up = (part > 0.5) | ((part == 0.5) & ((whole & 1) == 1))
    return whole + is_up.to(tl.int32)


@triton.jit(do_not_specialize=["start", "first", "height", "width", "refine_below"])
def finish_kernel(
    canvas,
    labels,
    out,
    start,
    first,
    height,
    width,
    refine_below,
    REFINE: tl.constexpr,
    PEAK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Finishes BLOCK values of one output row (paper section 3.4): out = convert(mean of the 3x3
    pixels where a light one lies beside a heavy one, else canvas).

    start: the canvas row of the first output row. The other arguments are those of `finish`.
    """
    across = tl.cdiv(3 * width, BLOCK)
    out_row = tl.program_id(0) // across
    row = start + out_row
    element = (tl.program_id(0) % across) * BLOCK + tl.arange(0, BLOCK)
    mask = element < 3 * width
    own = canvas + tl.cast(row, tl.int64) * (3 * width) + element
    value = tl.load(own, mask=mask, other=0.0)
    if REFINE:
        column = element // 3
        on_row = (first + row > 0) & (first + row < height - 1)
        own_label = labels + tl.cast(row, tl.int64) * width + column
        value = _refined(own, own_label, value, mask, column, width, on_row, refine_below)
    to = out + tl.cast(out_row, tl.int64) * (3 * width) + element
    if PEAK > 0:
        tl.store(to, _rounded(value, PEAK).to(out.dtype.element_ty), mask=mask)
    else:
        tl.store(to, value, mask=mask)


def finish(
    canvas: Tensor,
    labels: Tensor,
    rows: tuple[int, int],
    first: int,
    height: int,
    refine_below: int,
    out: Tensor,
) -> None:
    """Writes refined and converted rows of a canvas.

    Args:
        canvas: [n, W, 3] float32, the output rows from `first` on of an image of `height` rows.
        labels: [n * W] uint8.
        rows: the first of the n rows and the one behind the last; those beside them are in the
            canvas too, where the image has any.
        refine_below: labels below it are heavy; 0 leaves the refinement out.
        out: [rows, W, 3] uint8 or uint16 (clipped, ties to even) or float32 (not clipped).

    Raises:
        ValueError: a tensor is not of this kind, or a row beside `rows` is missing.
    """
    (count, width, _), (begin, end) = canvas.shape, rows
    expect_band(count, width)
    expect("canvas", canvas, torch.float32, (count, width, 3))
    expect("labels", labels, torch.uint8, (count * width,))
    if out.dtype not in PEAKS:
        raise ValueError(f"out: expected uint8, uint16 or float32, found {out.dtype}")
    expect("out", out, out.dtype, (end - begin, width, 3))
    least, most = (
        (min(first, 1), count - min(height - first - count, 1)) if refine_below else (0, count)
    )
    if not least <= begin <= end <= most:
        raise ValueError(f"rows {begin} to {end} of a canvas that can finish {least} to {most}")
    tile = block(BLOCK, 3 * width)
    programs = triton.cdiv(3 * width, tile) * (end - begin)
    if programs == 0:
        return
    finish_kernel[(programs,)](
        canvas,
        labels,
        out,
        begin,
        first,
        height,
        width,
        refine_below,
        REFINE=refine_below > 0,
        PEAK=PEAKS[out.dtype],
        BLOCK=tile,
        num_warps=4,
    )
