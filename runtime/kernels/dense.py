"""The dense pass gives every output pixel its logits and the lightest upsampler's colours."""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dense_parts import colour, deep_outputs, linear_logits
from .launch import DTYPES, BandInputs, expect, for_mlp, tiles_for_mlp
from .mlp import OUTPUTS, four, held_weights, offset_weights
from .occupancy import programs_at_once
from .packed import PackedMlp
from .tiles import Tile, Work, run_fastest

TILES = (Tile(64, 4), Tile(128, 8), Tile(128, 4, 128))  # that are tried beside the first


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
                colour(
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
            out += deep_outputs(
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
            linear_logits(
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
    """Writes every pixel's logits, and its colours by the lightest upsampler; where that is packed
    apart, only the bilinear base of them.

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
    spare = mlps.dense or mlps.light or mlps.classifier
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
    constants = (
        for_mlp(deep)
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
    bands = triton.cdiv(rows, constants["GROUP"])

    def run(tile: Tile) -> None:
        options = constants | tile.options
        most = programs or programs_at_once(dense_kernel, canvas.device, *arguments, **options)
        grid = (min(most, triton.cdiv(width, tile.block) * bands + 1),)
        dense_kernel[grid](*arguments, **options)

    work = Work("dense", canvas.device, rows * width, constants)
    run_fastest(work, tiles_for_mlp(width, deep, TILES), run)


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
