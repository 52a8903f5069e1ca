"""The dense pass gives every output pixel its logits and the lightest upsampler's colours."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .band_inputs import BandInputs
from .launch import DTYPES, expect, for_mlps
from .mlp import bilinear, colours, held_weights, mlp


@triton.jit
def _classify(
    layer,
    classifier,
    held,
    logits,
    column,
    pixels,
    CLASSES: tl.constexpr,
    SHAPE: tl.constexpr,
    HELD: tl.constexpr,
    DTYPE: tl.constexpr,
):
    """Stores the CLASSES logits of the pixels of one row: logits[c, column] = classifier(pixel)_c.

    A classifier of one layer has its CLASSES outputs in `pre`.
    """
    pre, at, mask, constant, row_offset, column_offset = layer
    if SHAPE[0] == 0:
        vectors = classifier[1]
        for c in tl.static_range(CLASSES):
            near = tl.load(pre + at + c, mask=mask, other=0.0).to(tl.float32)
            by_row = row_offset * tl.load(vectors + c)
            by_column = column_offset * tl.load(vectors + SHAPE[1] + SHAPE[2] + c)
            out = near + (tl.load(constant + c) + by_row) + by_column
            tl.store(logits + tl.cast(pixels, tl.int64) * c + column, out, mask=mask)
    else:
        out = mlp(layer, classifier, held, SHAPE, HELD, DTYPE)
        if CLASSES == 1:  # the others are padding, 0
            tl.store(logits + column, tl.sum(out, axis=1), mask=mask)
        else:
            c = tl.arange(0, 16)
            place = logits + c.to(tl.int64)[None, :] * pixels + column[:, None]
            tl.store(place, out, mask=mask[:, None] & (c < CLASSES)[None, :])


@triton.jit(
    do_not_specialize=["first", "top", "rows", "pixels", "height", "width", "lr_width", "plane"]
)
def dense_kernel(
    band,
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
    LIGHT_COLUMN: tl.constexpr,
    LIGHT_SHAPE: tl.constexpr,
    CLASS_COLUMN: tl.constexpr,
    CLASSES: tl.constexpr,
    CLASS_SHAPE: tl.constexpr,
    DTYPE: tl.constexpr,
    HELD: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Computes ROWS output rows of BLOCK columns: canvas = lightest upsampler's
    MLP + bilinear base, logits = classifier's MLP. The arguments are those of `dense`.
    """
    pre, image, constant, row_places, row_shares, column_places, column_shares = band
    across = tl.cdiv(width, BLOCK)
    strip = tl.program_id(0) // across
    column = (tl.program_id(0) % across) * BLOCK + tl.arange(0, BLOCK)
    mask = column < width
    nearest = tl.load(column_places + column, mask=mask, other=0)
    lower = tl.load(column_places + width + column, mask=mask, other=0)
    upper = tl.load(column_places + 2 * width + column, mask=mask, other=0)
    column_offset = tl.load(column_shares + column, mask=mask, other=0.0)
    column_weight = tl.load(column_shares + width + column, mask=mask, other=0.0)
    colour = tl.arange(0, 4)
    is_colour = mask[:, None] & (colour < 3)[None, :]
    held = held_weights(light[0], LIGHT_SHAPE, HELD)
    class_held = held_weights(classifier[0], CLASS_SHAPE, HELD)
    for row in range(strip * ROWS, tl.minimum(strip * ROWS + ROWS, rows)):
        on_rows = row_places + first + row
        at = (tl.cast(tl.load(on_rows) - top, tl.int64) * lr_width + nearest) * STRIDE
        row_offset = tl.load(row_shares + first + row)
        start = tl.cast(row, tl.int64) * width
        if CLASSES > 0:
            inputs, shared = pre + CLASS_COLUMN, constant + CLASS_COLUMN
            _classify(
                (inputs, at, mask, shared, row_offset, column_offset),
                classifier,
                class_held,
                logits + start,
                column,
                pixels,
                CLASSES,
                CLASS_SHAPE,
                HELD,
                DTYPE,
            )
        inputs, shared = pre + LIGHT_COLUMN, constant + LIGHT_COLUMN
        layer = (inputs, at, mask, shared, row_offset, column_offset)
        residual = mlp(layer, light, held, LIGHT_SHAPE, HELD, DTYPE)
        row_base = (
            tl.load(on_rows + height).to(tl.int64) * lr_width,
            tl.load(on_rows + 2 * height).to(tl.int64) * lr_width,
            tl.load(row_shares + height + first + row),
        )
        base = bilinear(image, plane, row_base, (lower, upper, column_weight), is_colour)
        place = canvas + start * 3 + (column[:, None] * 3 + colour[None, :])
        tl.store(place, colours(residual, BLOCK) + base, mask=is_colour)


ROWS = 4  # of a program: at x4 they have the same input row


def dense(inputs: BandInputs, canvas: Tensor, logits: Tensor | None) -> None:
    """Writes every pixel's logits, and its colours by the lightest upsampler.

    Args:
        canvas: [n, W, 3] float32, the output rows from `inputs.first` on.
        logits: [K, n * W] float32, heaviest first (K = 1 for M = 2); None for M = 1.

    Raises:
        ValueError: a tensor is not of this kind, or the band has some 2^31 pixels or more.
    """
    light, classifier = inputs.mlps.upsamplers[-1], inputs.mlps.classifier
    rows, width = inputs.check(canvas)
    if (logits is None) != (classifier is None):
        raise ValueError("logits are for M > 1, where there is a classifier")
    classes = 0 if classifier is None else classifier.outputs
    if logits is not None:
        expect("logits", logits, torch.float32, (classes, rows * width))
    mlps = (light,) if classifier is None else (light, classifier)
    how, other = for_mlps(width, *mlps), mlps[-1]
    dense_kernel[(triton.cdiv(width, how["BLOCK"]) * triton.cdiv(rows, ROWS),)](
        inputs.tensors,
        (light.weights, light.vectors),
        (other.weights, other.vectors),
        canvas,
        canvas if logits is None else logits,
        inputs.first,
        inputs.top,
        rows,
        rows * width,
        *inputs.sizes,
        STRIDE=inputs.pre.shape[1],
        LIGHT_COLUMN=light.column,
        LIGHT_SHAPE=light.shape,
        CLASS_COLUMN=other.column,
        CLASSES=classes,
        CLASS_SHAPE=other.shape,
        DTYPE=DTYPES[inputs.mlps.dtype],
        ROWS=ROWS,
        **how,
    )
