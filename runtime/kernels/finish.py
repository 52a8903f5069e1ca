"""The last pass refines beside heavy regions and converts to the output's dtype."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import block, expect, expect_band, interpreted
from .tiles import Tile, Work, run_fastest

PEAKS = {torch.uint8: 255, torch.uint16: 65535, torch.float32: 0}
TILES = (Tile(256, 1), Tile(512, 2), Tile(1024, 4))


@triton.jit
def _is_mixed(labels, start, total, width, refine_below, BLOCK: tl.constexpr):
    """Tells whether any of BLOCK pixels can be refined: a light one is among them, and a heavy one
    among them or beside them. It may say so too often, never too seldom.
    """
    place = tl.arange(0, BLOCK)
    least = tl.full((BLOCK,), 255, tl.int32)
    most = tl.zeros((BLOCK,), tl.int32)
    for y in tl.static_range(-1, 2):
        at = tl.maximum(tl.minimum(start + y * width, total - BLOCK), 0)
        row = tl.load(labels + at + place, mask=place < total - at, other=255).to(tl.int32)
        least = tl.minimum(least, row)
        if y == 0:
            most = row
        before = tl.load(labels + tl.maximum(at - 1, 0)).to(tl.int32)
        after = tl.load(labels + tl.minimum(at + BLOCK, total - 1)).to(tl.int32)
        least = tl.minimum(least, tl.minimum(before, after))
    is_near_heavy = tl.min(least, axis=0) < refine_below
    return is_near_heavy & (tl.max(most, axis=0) >= refine_below)


@triton.jit
def _is_refined(labels, pixel, mask, first, height, width, refine_below):
    """Tells which pixels are light, not outermost, and beside a heavy one."""
    row = pixel // width
    column = pixel - row * width
    inside = mask & (column > 0) & (column < width - 1)
    inside = inside & (first + row > 0) & (first + row < height - 1)
    own = tl.load(labels + pixel, mask=inside, other=0).to(tl.int32)
    inside = inside & (own >= refine_below)
    least = own
    for y in tl.static_range(-1, 2):
        for x in tl.static_range(-1, 2):
            if x != 0 or y != 0:
                other = tl.load(labels + pixel + (y * width + x), mask=inside, other=255)
                least = tl.minimum(least, other.to(tl.int32))
    return inside & (least < refine_below)


@triton.jit
def _mean(canvas, mask, width):
    """Gives the mean of the 3x3 values around each."""
    total = tl.zeros(mask.shape, tl.float32)
    for y in tl.static_range(-1, 2):
        line = canvas + y * 3 * width
        left = tl.load(line - 3, mask=mask, other=0.0)
        right = tl.load(line + 3, mask=mask, other=0.0)
        total += left + tl.load(line, mask=mask, other=0.0) + right
    return total * (1.0 / 9.0)


@triton.jit
def _store(out, value, mask, PEAK: tl.constexpr):
    """Stores values as they are, or value * PEAK as an integer from 0 to PEAK, halves rounded to
    the even one; a NaN is 0. The sum with 2^23 has the integer in its lower bits. It cannot be
    fused with the product, as there is the clipping between them.
    """
    if PEAK > 0:
        scaled = value * PEAK
        scaled = tl.where(scaled > 0, scaled, 0.0)
        scaled = tl.where(scaled < PEAK, scaled, PEAK * 1.0)
        value = (scaled + 8388608.0).to(tl.int32, bitcast=True).to(out.dtype.element_ty)
    tl.store(out, value, mask=mask)


@triton.jit
def _refine(
    canvas, labels, out, at, frame, PEAK: tl.constexpr, BLOCK: tl.constexpr, PART: tl.constexpr
):
    """Overwrites those of BLOCK pixels that are refined, PART at a time, once all are converted.

    canvas, out: pointers to the first of them. at: this one's place on the canvas, how many pixels
    are left to finish, and how many the canvas has. frame: first, height, width and refine_below.
    """
    start, left, total = at
    first, height, width, refine_below = frame
    if _is_mixed(labels, start, total, width, refine_below, BLOCK):
        tl.debug_barrier()
        for part in range(0, BLOCK, PART):
            near = part + tl.arange(0, PART)
            mask = near < left
            mask = _is_refined(labels, start + near, mask, first, height, width, refine_below)
            if tl.max(mask.to(tl.int32), axis=0) > 0:
                for colour in tl.static_range(3):
                    element = near * 3 + colour
                    _store(out + element, _mean(canvas + element, mask, width), mask, PEAK)


@triton.jit(do_not_specialize=["first", "height", "refine_below"])
def finish_kernel(
    canvas,
    labels,
    out,
    invalid,
    start,
    size,
    total,
    first,
    height,
    width,
    refine_below,
    REFINE: tl.constexpr,
    PEAK: tl.constexpr,
    BLOCK: tl.constexpr,
    PART: tl.constexpr,
):
    """Finishes BLOCK pixels (paper section 3.4): out = convert(mean of the 3x3 pixels where a light
    one lies beside a heavy one, else canvas). All are converted at first, in the order of memory;
    then those that are refined are overwritten, PART pixels at a time.

    start, size: the first of the finished pixels on the canvas, which has `total`, and how many
    they are. The other arguments are those of `finish`.
    """
    done = tl.program_id(0) * BLOCK
    own = canvas + tl.cast(start + done, tl.int64) * 3
    to = out + tl.cast(done, tl.int64) * 3
    place = tl.arange(0, BLOCK)
    worst = tl.zeros((BLOCK,), tl.float32)
    values = tl.minimum(size - done, BLOCK) * 3
    for third in tl.static_range(3):
        element = third * BLOCK + place
        mask = element < values
        value = tl.load(own + element, mask=mask, other=0.0)
        worst = tl.maximum(worst, tl.abs(value), propagate_nan=tl.PropagateNan.ALL)
        _store(to + element, value, mask, PEAK)
    is_bad = tl.max(worst.to(tl.int32, bitcast=True), axis=0) >= 0x7F800000
    tl.atomic_add(invalid, 1, mask=is_bad, sem="relaxed")
    if REFINE:
        at = (start + done, size - done, total)
        frame = (first, height, width, refine_below)
        _refine(own, labels, to, at, frame, PEAK, BLOCK, PART)


def finish(
    canvas: Tensor,
    labels: Tensor,
    rows: tuple[int, int],
    first: int,
    height: int,
    refine_below: int,
    out: Tensor,
    invalid: Tensor,
) -> None:
    """Writes refined and converted rows of a canvas.

    Args:
        canvas: [n, W, 3] float32, the output rows from `first` on of an image of `height` rows.
        labels: [n * W] uint8.
        rows: the first of the n rows and the one behind the last; those beside them are in the
            canvas too, where the image has any.
        refine_below: labels below it are heavy; 0 leaves the refinement out.
        out: [rows, W, 3] uint8 or uint16 (clipped, ties to even) or float32 (not clipped).
        invalid: [1] int32: something is added to it where a value of `rows` is not finite.

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
    expect("invalid", invalid, torch.int32, (1,))
    least, most = (
        (min(first, 1), count - min(height - first - count, 1)) if refine_below else (0, count)
    )
    if not least <= begin <= end <= most:
        raise ValueError(f"rows {begin} to {end} of a canvas that can finish {least} to {most}")
    size = (end - begin) * width
    if size == 0:
        return
    arguments = (
        canvas,
        labels,
        out,
        invalid,
        begin * width,
        size,
        count * width,
        first,
        height,
        width,
        refine_below,
    )
    constants = {"REFINE": refine_below > 0, "PEAK": PEAKS[out.dtype]}

    def run(tile: Tile) -> None:
        grid = (triton.cdiv(size, tile.block),)
        part = max(tile.block // 4, 1)
        finish_kernel[grid](*arguments, **constants, PART=part, **tile.options)

    tiles = [Tile(block(0, size), 1)] if interpreted() else TILES
    run_fastest(Work("finish", canvas.device, count * width, constants), tiles, run)
