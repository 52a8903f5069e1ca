"""The epilogue ends a convolution in one pass over its result: bias, sum and activation."""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from pcsr.runtime.kernels import launch

IDENTITY, RELU = 1.0, 0.0  # slopes below zero; all others are those of LeakyReLU
BLOCK = 1024  # values of a program
_VECTOR = 8  # 16 bytes of half precision


@triton.jit(do_not_specialize=["run"])
def epilogue_kernel(
    y,
    bias,
    added,
    run,
    slope,
    CHANNELS: tl.constexpr,
    IS_LAST: tl.constexpr,
    IS_LINEAR: tl.constexpr,
    IS_RELU: tl.constexpr,
    VECTOR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Computes y = act(y + bias + added) in place for BLOCK vectors of VECTOR values.

    They are of `run` vectors that lie together: those of the whole image, channels last, or of one
    channel's plane. VECTOR divides the channels, or the plane: what is loaded at once needs one
    remainder and one comparison. bias, added: None where there is none.
    """
    across = tl.cdiv(run, BLOCK)
    line = tl.program_id(0) // across
    first = (tl.program_id(0) % across).to(tl.int64) * BLOCK
    vector = tl.arange(0, BLOCK)
    lane = tl.arange(0, VECTOR)[None, :]
    mask = (vector < tl.minimum(run - first, BLOCK).to(tl.int32))[:, None]
    start, place = (line.to(tl.int64) * run + first) * VECTOR, vector[:, None] * VECTOR + lane
    value = tl.load(y + start + place, mask=mask, other=0.0).to(tl.float32)
    if bias is not None:
        if IS_LAST:
            groups: tl.constexpr = CHANNELS // VECTOR
            group = ((first % groups).to(tl.int32) + vector) % groups
            value += tl.load(bias + group[:, None] * VECTOR + lane).to(tl.float32)
        else:
            value += tl.load(bias + line % CHANNELS).to(tl.float32)
    if added is not None:
        value += tl.load(added + start + place, mask=mask, other=0.0).to(tl.float32)
    if IS_RELU:
        value = tl.where(value < 0, 0.0, value)
    elif not IS_LINEAR:
        value = tl.where(value < 0, value * slope, value)
    tl.store(y + start + place, value.to(y.dtype.element_ty), mask=mask)


def epilogue(
    y: Tensor, bias: Tensor | None = None, added: Tensor | None = None, slope: float = IDENTITY
) -> Tensor:
    """Computes y = act(y + bias + added) in place, in float32 and rounded once; gives y.

    act(v) = v where v >= 0, else slope * v; a NaN stays one.

    Args:
        y: [n, C, h, w] float16, bfloat16 or float32, contiguous or channels last.
        bias: [C] of any of these types.
        added: of y's shape, dtype and layout.
        slope: RELU, IDENTITY, or that of LeakyReLU.
    """
    is_last = _expect(y, bias, added)
    if y.numel() == 0:
        return y
    channels, plane = y.shape[1], y.shape[2] * y.shape[3]
    vector = math.gcd(_VECTOR, channels if is_last else plane)
    lines = 1 if is_last else y.shape[0] * channels
    size = y.numel() // lines
    run, block = size // vector, launch.block(BLOCK, size) // vector
    epilogue_kernel[(lines * triton.cdiv(run, block),)](
        y,
        bias,
        added,
        run,
        slope,
        CHANNELS=channels,
        IS_LAST=is_last,
        IS_LINEAR=slope == IDENTITY,
        IS_RELU=slope == RELU,
        VECTOR=vector,
        BLOCK=block,
        num_warps=4,
    )
    return y


def _expect(y: Tensor, bias: Tensor | None, added: Tensor | None) -> bool:
    """Says whether the channels lie last. Raises ValueError as `epilogue` does."""
    layouts = (torch.channels_last, torch.contiguous_format) if y.ndim == 4 else ()
    layout = next((form for form in layouts if y.is_contiguous(memory_format=form)), None)
    if layout is None or y.dtype not in launch.DTYPES:
        raise ValueError(f"y: expected an image without gaps, found {_kind(y)}")
    if bias is not None and not (bias.shape == y.shape[1:2] and bias.is_contiguous()):
        raise ValueError(f"bias: expected contiguous [{y.shape[1]}], found {_kind(bias)}")
    if added is not None and not (
        added.shape == y.shape
        and added.dtype == y.dtype
        and added.is_contiguous(memory_format=layout)
    ):
        raise ValueError(f"added: expected it as y ({_kind(y)}), found {_kind(added)}")
    return layout == torch.channels_last


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)} of strides {list(tensor.stride())}"
