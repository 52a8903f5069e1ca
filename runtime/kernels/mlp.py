"""Defines what the dense and the sparse pass share inside a kernel: an MLP on a tile of pixels, and
the bilinear base.

A hidden width is kept as one or two blocks of channels, A and B, both powers of two (B may be 0),
because the tensor cores take nothing else: 74 channels are 64 + 16, not 128.
"""

import triton
import triton.language as tl

OUTPUTS = tl.constexpr(16)  # of the last layer, padded: the least that a matrix product takes


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
def held_weights(weights, SHAPE: tl.constexpr, HELD: tl.constexpr):
    """Loads the tiles of every layer, once before a loop over pixels; none unless HELD."""
    LAYERS: tl.constexpr = SHAPE[0]
    A: tl.constexpr = SHAPE[1]
    B: tl.constexpr = SHAPE[2]
    held = ()
    if HELD:
        for layer in tl.static_range(LAYERS):
            own = weights + layer * (A + B) * (A + B)
            if layer + 1 < LAYERS:
                held = held + (_hidden_tiles(own, A, B),)  # type: ignore[assignment]
            else:
                held = held + (_last_tiles(own, A, B),)  # type: ignore[assignment]
    return held


@triton.jit
def _first_layer(layer, vectors, START: tl.constexpr, COUNT: tl.constexpr, P: tl.constexpr):
    """Computes channels START to START + COUNT of the folded first layer, [N, COUNT] float32: pre +
    constant + row_offset * row weight + column_offset * column weight.
    """
    pre, at, mask, constant, row_offset, column_offset = layer
    channel = START + tl.arange(0, COUNT)
    near = tl.load(pre + at[:, None] + channel[None, :], mask=mask[:, None], other=0.0)
    by_row = row_offset * tl.load(vectors + channel)[None, :]
    by_column = column_offset[:, None] * tl.load(vectors + P + channel)[None, :]
    return near.to(tl.float32) + (tl.load(constant + channel)[None, :] + by_row) + by_column


@triton.jit
def _activated(x, DTYPE: tl.constexpr):
    # A NaN must reach the logits, where it is noticed: a plain maximum would make it 0.
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL).to(DTYPE)


@triton.jit
def _held_product(x, y, of_x, of_y, bias, COUNT: tl.constexpr, B: tl.constexpr):
    """Gives x @ of_x + y @ of_y + bias [COUNT], in float32; y counts only where B > 0."""
    out = tl.dot(x, of_x, input_precision="ieee", out_dtype=tl.float32)
    if B > 0:
        out = tl.dot(y, of_y, acc=out, input_precision="ieee", out_dtype=tl.float32)
    return out + tl.load(bias + tl.arange(0, COUNT))[None, :]


@triton.jit
def _product(
    x, y, weights, bias, COUNT: tl.constexpr, STRIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr
):
    """Gives the same as `_held_product`, but loads each tile of `weights` where it is used: few are
    in shared memory then.
    """
    of_x = _tile(weights, A, COUNT, STRIDE)
    out = tl.dot(x, of_x, input_precision="ieee", out_dtype=tl.float32)
    if B > 0:
        of_y = _tile(weights + A * STRIDE, B, COUNT, STRIDE)
        out = tl.dot(y, of_y, acc=out, input_precision="ieee", out_dtype=tl.float32)
    return out + tl.load(bias + tl.arange(0, COUNT))[None, :]


@triton.jit
def mlp(layer, of, held, SHAPE: tl.constexpr, HELD: tl.constexpr, DTYPE: tl.constexpr):
    """Runs an MLP on a tile of N pixels: x_0 = the first layer, x_l = W_l relu(x_l-1) + b_l for
    l = 1 to LAYERS; gives [N, OUTPUTS] float32. With LAYERS = 0, A is OUTPUTS.

    layer: (pre, at, mask, constant, row_offset, column_offset), what the first layer is made from:
    pre, constant from this MLP's first channel on; at [N] int64, where each pixel's row of pre
    begins; row_offset, a number or [N, 1]; column_offset [N]. of: weights, vectors of `PackedMlp`.
    held: of `held_weights`. SHAPE: (LAYERS, A, B).
    """
    LAYERS: tl.constexpr = SHAPE[0]
    A: tl.constexpr = SHAPE[1]
    B: tl.constexpr = SHAPE[2]
    P: tl.constexpr = A + B
    weights, vectors = of
    a = _first_layer(layer, vectors, 0, A, P)
    b = a
    if B > 0 and LAYERS > 0:
        b = _first_layer(layer, vectors, A, B, P)
    if HELD:
        for layer in tl.static_range(LAYERS):
            bias = vectors + (2 + layer) * P
            a, b = _next_held_layer(a, b, held[layer], bias, layer + 1 < LAYERS, A, B, DTYPE)
    elif LAYERS > 0:
        for layer in range(LAYERS - 1):  # not unrolled: the code of wide layers is long
            own, bias = weights + layer * P * P, vectors + (2 + layer) * P
            x, y = _activated(a, DTYPE), _activated(b, DTYPE)
            a = _product(x, y, own, bias, A, P, A, B)
            b = a
            if B > 0:
                b = _product(x, y, own + A, bias + A, B, P, A, B)
        own, bias = weights + (LAYERS - 1) * P * P, vectors + (1 + LAYERS) * P
        x, y = _activated(a, DTYPE), _activated(b, DTYPE)
        a = _product(x, y, own, bias, OUTPUTS, OUTPUTS, A, B)
    return a


@triton.jit
def _next_held_layer(
    a, b, tiles, bias, HIDDEN: tl.constexpr, A: tl.constexpr, B: tl.constexpr, DTYPE: tl.constexpr
):
    """Computes the next hidden layer of both blocks, or the outputs in place of both."""
    x = _activated(a, DTYPE)
    if B == 0:
        a = _held_product(x, x, tiles[0], tiles[0], bias, A if HIDDEN else OUTPUTS, B)
        b = a
    else:
        y = _activated(b, DTYPE)
        if HIDDEN:
            a = _held_product(x, y, tiles[0], tiles[2], bias, A, B)
            b = _held_product(x, y, tiles[1], tiles[3], bias + A, B, B)
        else:
            a = _held_product(x, y, tiles[0], tiles[1], bias, OUTPUTS, B)
            b = a
    return a, b


@triton.jit
def colours(outputs, BLOCK: tl.constexpr):
    """Cuts [N, OUTPUTS] to [N, 4], the last of them 0: outputs from the fourth on are padding."""
    return tl.sum(tl.reshape(outputs, (BLOCK, OUTPUTS // 4, 4)), axis=1)


@triton.jit
def bilinear(image, plane, row, column, mask):
    """Interpolates the base of pixels [N, 4], the last column 0: over rows first, then columns,
    each as lower + weight * (upper - lower).

    row: (where the lower and the upper input row begin, the weight), numbers or [N, 1]. column:
    (lower, upper, weight), each [N]. mask: [N, 4].
    """
    lower_row, upper_row, row_weight = row
    lower, upper, column_weight = column
    start = image + tl.arange(0, 4).to(tl.int64)[None, :] * plane
    left, right = lower[:, None], upper[:, None]
    lower_left = tl.load(start + lower_row + left, mask=mask, other=0.0)
    lower_right = tl.load(start + lower_row + right, mask=mask, other=0.0)
    upper_left = tl.load(start + upper_row + left, mask=mask, other=0.0)
    upper_right = tl.load(start + upper_row + right, mask=mask, other=0.0)
    on_left = lower_left + row_weight * (upper_left - lower_left)
    on_right = lower_right + row_weight * (upper_right - lower_right)
    return on_left + column_weight[:, None] * (on_right - on_left)
