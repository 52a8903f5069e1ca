"""Defines what the dense and the sparse pass share inside a kernel: MLPs on a tile of pixels,
and the bilinear base.

A hidden width is kept as one or two blocks of channels, A and B, both powers of two (B may be 0),
because the tensor cores take nothing else: 76 channels are 64 + 16, not 128. Biases are rows of the
weights: two of the channels are always 1.
"""

import triton
import triton.language as tl

OUTPUTS = tl.constexpr(16)  # of the last layer, padded: the least that a matrix product takes
INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))  # where there is no PTX


@triton.jit
def _tile(weights, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STRIDE: tl.constexpr):
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    return tl.load(weights + row[:, None] * STRIDE + column[None, :])


@triton.jit
def _hidden_tiles(weights, A: tl.constexpr, B: tl.constexpr):
    """Loads a layer [A + B, A + B] in its blocks: from A to A, and from A to B, B to A, B to B."""
    tiles = (_tile(weights, A, A, A + B),)
    if B > 0:
        below = weights + A * (A + B)
        tiles = tiles + (  # type: ignore[assignment]
            _tile(weights + A, A, B, A + B),
            _tile(below, B, A, A + B),
            _tile(below + A, B, B, A + B),
        )
    return tiles


@triton.jit
def _last_tiles(weights, A: tl.constexpr, B: tl.constexpr):
    tiles = (_tile(weights, A, OUTPUTS, OUTPUTS),)
    if B > 0:
        below = _tile(weights + A * OUTPUTS, B, OUTPUTS, OUTPUTS)
        tiles = tiles + (below,)  # type: ignore[assignment]
    return tiles


@triton.jit
def held_weights(weights, SHAPE: tl.constexpr, PLACES: tl.constexpr, HELD: tl.constexpr):
    """Loads the tiles of every layer, once before a loop over pixels; none unless HELD. The last
    layer is there PLACES times, as `PackedMlp.weights` has it.
    """
    LAYERS: tl.constexpr = SHAPE[0]
    A: tl.constexpr = SHAPE[1]
    B: tl.constexpr = SHAPE[2]
    held = ()
    if HELD and LAYERS > 0:
        for layer in tl.static_range(LAYERS - 1):
            own = weights + layer * (A + B) * (A + B)
            held = held + (_hidden_tiles(own, A, B),)  # type: ignore[assignment]
        for place in tl.static_range(PLACES):
            own = weights + (LAYERS - 1) * (A + B) * (A + B) + place * (A + B) * OUTPUTS
            held = held + (_last_tiles(own, A, B),)  # type: ignore[assignment]
    return held


@triton.jit
def _moved(x, offset, weight, DTYPE: tl.constexpr):
    """Gives x + offset * weight, all of one shape; rounded once."""
    if tl.float16 == DTYPE and not INTERPRETED:
        x = tl.inline_asm_elementwise(
            "fma.rn.f16x2 $0, $1, $2, $3;", "=r,r,r,r", [offset, weight, x], tl.float16, True, 2
        )
    else:
        x = (x.to(tl.float32) + offset.to(tl.float32) * weight.to(tl.float32)).to(x.dtype)
    return x


@triton.jit
def _activated(x, DTYPE: tl.constexpr):
    # A NaN must reach the logits, where it is noticed: a plain maximum would make it 0.
    if tl.float16 == DTYPE and not INTERPRETED:
        x = tl.inline_asm_elementwise(
            "cvt.rn.relu.f16x2.f32 $0, $2, $1;", "=r,f,f", [x], tl.float16, True, 2
        )
    elif tl.bfloat16 == DTYPE and not INTERPRETED:
        x = tl.inline_asm_elementwise(
            "cvt.rn.relu.bf16x2.f32 $0, $2, $1;", "=r,f,f", [x], tl.bfloat16, True, 2
        )
    else:
        x = tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL).to(DTYPE)
    return x


@triton.jit
def _moved_and_activated(x, offset, weight, DTYPE: tl.constexpr):
    if tl.float16 == DTYPE and not INTERPRETED:
        x = tl.inline_asm_elementwise(
            "fma.rn.relu.f16x2 $0, $1, $2, $3;",
            "=r,r,r,r",
            [offset, weight, x],
            tl.float16,
            True,
            2,
        )
    else:
        x = _activated(_moved(x, offset, weight, DTYPE).to(tl.float32), DTYPE)
    return x


@triton.jit
def offset_weights(vectors, SHAPE: tl.constexpr, DTYPE: tl.constexpr):
    """Loads what an offset is multiplied with, of rows and of columns, for channels A and B."""
    A: tl.constexpr = SHAPE[1]
    B: tl.constexpr = SHAPE[2]
    P: tl.constexpr = A + B
    KEPT: tl.constexpr = tl.float16 if tl.float16 == DTYPE else tl.float32
    a = tl.arange(0, A)
    of = (tl.load(vectors + a).to(KEPT)[None, :], tl.load(vectors + P + a).to(KEPT)[None, :])
    if B > 0:
        b = A + tl.arange(0, B)
        of = of + (  # type: ignore[assignment]
            tl.load(vectors + b).to(KEPT)[None, :],
            tl.load(vectors + P + b).to(KEPT)[None, :],
        )
    return of


@triton.jit
def at_columns(pre, at, mask, offset, of, SHAPE: tl.constexpr, DTYPE: tl.constexpr):
    """Computes the first layer but for the offset between rows: pre + offset * column weight, in
    channels A [N, A] and B; float32, but float16 where that is DTYPE.

    pre: from the MLP's first channel on. at: [N], where each pixel's row of pre begins. offset [N].
    of: of `offset_weights`.
    """
    A: tl.constexpr = SHAPE[1]
    B: tl.constexpr = SHAPE[2]
    KEPT: tl.constexpr = tl.float16 if tl.float16 == DTYPE else tl.float32
    by = offset.to(KEPT)[:, None]
    x = tl.load(pre + at[:, None] + tl.arange(0, A)[None, :], mask=mask[:, None], other=0.0)
    x = x.to(KEPT)
    a = _moved(x, tl.broadcast_to(by, x.shape), tl.broadcast_to(of[1], x.shape), DTYPE)
    b = a
    if B > 0:
        y = tl.load(pre + at[:, None] + (A + tl.arange(0, B))[None, :], mask=mask[:, None], other=0)
        y = y.to(KEPT)
        b = _moved(y, tl.broadcast_to(by, y.shape), tl.broadcast_to(of[3], y.shape), DTYPE)
    return a, b


@triton.jit
def at_rows(a, b, offset, of, SHAPE: tl.constexpr, DTYPE: tl.constexpr):
    """Activates the first layer: relu(of `at_columns` + offset * row weight); offset is a number or
    [N, 1].
    """
    B: tl.constexpr = SHAPE[2]
    KEPT: tl.constexpr = tl.float16 if tl.float16 == DTYPE else tl.float32
    by = offset.to(KEPT)
    x = _moved_and_activated(
        a, tl.broadcast_to(by, a.shape), tl.broadcast_to(of[0], a.shape), DTYPE
    )
    y = x
    if B > 0:
        y = _moved_and_activated(
            b, tl.broadcast_to(by, b.shape), tl.broadcast_to(of[2], b.shape), DTYPE
        )
    return x, y


@triton.jit
def _sum(x, y, of_x, of_y, B: tl.constexpr):
    """Gives x @ of_x + y @ of_y, in float32; y counts only where B > 0."""
    out = tl.dot(x, of_x, input_precision="ieee", out_dtype=tl.float32)
    if B > 0:
        out = tl.dot(y, of_y, acc=out, input_precision="ieee", out_dtype=tl.float32)
    return out


@triton.jit
def _loaded_sum(
    x, y, weights, COUNT: tl.constexpr, STRIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr
):
    """Gives the same as `_sum`, but loads each tile of `weights` where it is used: few are in
    shared memory then.
    """
    of_x = _tile(weights, A, COUNT, STRIDE)
    out = tl.dot(x, of_x, input_precision="ieee", out_dtype=tl.float32)
    if B > 0:
        of_y = _tile(weights + A * STRIDE, B, COUNT, STRIDE)
        out = tl.dot(y, of_y, acc=out, input_precision="ieee", out_dtype=tl.float32)
    return out


@triton.jit
def mlp(
    x, y, out, weights, held, PLACE, SHAPE: tl.constexpr, HELD: tl.constexpr, DTYPE: tl.constexpr
):
    """Runs the layers behind the first on a tile of N pixels: x_l = relu(W_l x_l-1) for l = 1 to
    LAYERS - 1, then adds W_LAYERS x to out [N, OUTPUTS] float32.

    x, y: of `at_rows`. weights: of `PackedMlp`; PLACE: which of its last layers. held: of
    `held_weights`. SHAPE: (LAYERS, A, B).
    """
    LAYERS: tl.constexpr = SHAPE[0]
    A: tl.constexpr = SHAPE[1]
    B: tl.constexpr = SHAPE[2]
    P: tl.constexpr = A + B
    if HELD:
        for layer in tl.static_range(LAYERS - 1):
            x, y = _next_held_layer(x, y, held[layer], B, DTYPE)
        last = held[LAYERS - 1 + PLACE]
        out = tl.dot(x, last[0], acc=out, input_precision="ieee", out_dtype=tl.float32)
        if B > 0:
            out = tl.dot(y, last[1], acc=out, input_precision="ieee", out_dtype=tl.float32)
    else:
        for layer in range(LAYERS - 1):  # not unrolled: the code of wide layers is long
            own = weights + layer * P * P
            a = _loaded_sum(x, y, own, A, P, A, B)
            b = a
            if B > 0:
                b = _loaded_sum(x, y, own + A, B, P, A, B)
            x, y = _activated(a, DTYPE), _activated(b, DTYPE)
        own = weights + (LAYERS - 1) * P * P + PLACE * P * OUTPUTS
        out += _loaded_sum(x, y, own, OUTPUTS, OUTPUTS, A, B)
    return out


@triton.jit
def _next_held_layer(x, y, tiles, B: tl.constexpr, DTYPE: tl.constexpr):
    if B == 0:
        x = _activated(_sum(x, x, tiles[0], tiles[0], B), DTYPE)
        y = x
    else:
        a = _sum(x, y, tiles[0], tiles[2], B)
        b = _sum(x, y, tiles[1], tiles[3], B)
        x, y = _activated(a, DTYPE), _activated(b, DTYPE)
    return x, y


@triton.jit
def linear(pre, at, mask, c, row_offset, column_offset, vectors):
    """Computes output c [N] float32 of an MLP that is its first layer only; pre is from its first
    channel on, vectors of `PackedMlp`.
    """
    near = tl.load(pre + at + c, mask=mask, other=0.0).to(tl.float32)
    by_row = row_offset * tl.load(vectors + c)
    return near + (by_row + column_offset * tl.load(vectors + OUTPUTS + c))


@triton.jit
def across(row, column):
    """Interpolates between columns of one input row. column: (lower, upper, the share of upper)."""
    lower, upper, share = column
    left = tl.load(row + lower)
    return left + share * (tl.load(row + upper) - left)


@triton.jit
def four(a, b, c, d):
    """Puts four tensors side by side, the last two axes [2, 2] counting them."""
    return tl.join(tl.join(a, c), tl.join(b, d))
