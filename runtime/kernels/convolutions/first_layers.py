"""The first layers' products with the features, all MLPs side by side."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pcsr.runtime.kernels.launch import block, expect, expect_band
from pcsr.runtime.kernels.packed import padded

TILE, WARPS, MOST_COLUMNS, MOST_CHUNK = 128, 8, 128, 64
HALVES = frozenset({torch.float16, torch.bfloat16})
DEVICES = frozenset({"cuda"})


@triton.jit(do_not_specialize=["start", "pixels"])
def first_layers_kernel(
    features,
    weight,
    constant,
    pre,
    start,
    pixels,
    D: tl.constexpr,
    S: tl.constexpr,
    STRIDE: tl.constexpr,
    CHUNK: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Computes COLUMNS columns of BLOCK rows of pre = features[start:] @ weight + constant. Pixels
    of features begin STRIDE values apart.
    """
    parts: tl.constexpr = (S + COLUMNS - 1) // COLUMNS
    begin = (tl.program_id(0) // parts).to(tl.int64) * BLOCK
    column = tl.program_id(0) % parts * COLUMNS + tl.arange(0, COLUMNS)
    pixel = tl.arange(0, BLOCK)
    mask = (pixel < pixels - begin)[:, None]
    near = features + (start + begin) * STRIDE + pixel[:, None] * STRIDE
    acc = tl.zeros((BLOCK, COLUMNS), dtype=tl.float32)
    for first in tl.static_range(0, D, CHUNK):
        channel = first + tl.arange(0, CHUNK)
        known = channel < D
        x = tl.load(near + channel[None, :], mask=mask & known[None, :], other=0.0)
        of = weight + channel[:, None] * S + column[None, :]
        of = tl.load(of, mask=known[:, None] & (column < S)[None, :], other=0.0)
        acc = tl.dot(x, of, acc=acc, input_precision="ieee", out_dtype=tl.float32)
    acc += tl.load(constant + column, mask=column < S, other=0.0).to(tl.float32)[None, :]
    to = pre + begin * S + (pixel[:, None] * S + column[None, :])
    tl.store(to, acc.to(pre.dtype.element_ty), mask=mask & (column < S)[None, :])


def first_layers(features: Tensor, rows: slice, weight: Tensor, constant: Tensor) -> Tensor:
    """Computes features[:, rows] @ weight + constant for each pixel: [P, S], sums in float32 and
    rounded once.

    In half precision on CUDA a kernel reads features whose channels lie side by side where they
    are; all others are PyTorch's product.

    Args:
        features: [D, h, w] of any strides.
        rows: the input rows that are wanted, within h and of step 1.
        weight: [D, S] of the features' type, `PackedMlps.first_weight`.
        constant: [S] of that type, of `PackedMlps.constants`.

    Raises:
        ValueError: tensors that do not fit each other, or too many pixels.
    """
    depth, _, width = features.shape
    columns = weight.shape[1]
    expect("weight", weight, features.dtype, (depth, columns))
    expect("constant", constant, features.dtype, (columns,))
    expect_band(rows.stop - rows.start, width)
    is_half = features.dtype in HALVES and features.device.type in DEVICES
    step = features.stride(2)
    if not is_half or features.stride(0) != 1 or features.stride(1) != step * width:
        return torch.addmm(constant, features[:, rows].flatten(1).T, weight)
    pixels = (rows.stop - rows.start) * width
    pre = features.new_empty((pixels, columns))
    wide, tile = min(MOST_COLUMNS, padded(columns)), block(TILE, pixels)
    if pixels:
        first_layers_kernel[(triton.cdiv(pixels, tile) * triton.cdiv(columns, wide),)](
            features,
            weight,
            constant,
            pre,
            rows.start * width,
            pixels,
            D=depth,
            S=columns,
            STRIDE=step,
            CHUNK=min(MOST_CHUNK, padded(depth)),
            COLUMNS=wide,
            BLOCK=max(16, tile),
            num_warps=WARPS,
            num_stages=1,
        )
    return pre
