"""The layout of images and weights as the convolution kernels read and write them."""

from collections.abc import Sequence
from itertools import accumulate

import triton.language as tl
from torch import Tensor

from pcsr.runtime.kernels.packed import padded

GROUP = 16  # channels of a group
WINDOW = tl.constexpr(64)  # three pixels of 16 channels side by side, and 16 zeros


def pixels_last(x: Tensor) -> Tensor:
    """Gives [n, c, h, w] with a pixel's channels side by side and all pixels evenly spaced
    (`stride(3)`): channels_last images and slices of their channels are so, others are copied.
    """
    count, channels, height, width = x.shape
    step = x.stride(3)
    rows_follow = height == 1 or x.stride(2) == step * width
    images_follow = count == 1 or x.stride(0) == step * width * height
    channels_follow = channels == 1 or x.stride(1) == 1
    if rows_follow and images_follow and channels_follow and step >= channels:
        return x
    return empty_pixels_last(x.shape, x).copy_(x)


def empty_pixels_last(shape: Sequence[int], like: Tensor) -> Tensor:
    """Takes memory [n, c, h, w], channels last, with the type and device of `like`."""
    count, channels, height, width = shape
    return like.new_empty((count, height, width, channels)).permute(0, 3, 1, 2)


def chunk_of(channels: Sequence[int]) -> int:
    """Gives the channels that are multiplied at a time: the widest map's, at most 64."""
    return min(64, padded(max(channels)))


def row_starts(channels: Sequence[int]) -> list[int]:
    """Gives the row of the packed weight at which each map begins, and the number of rows: each
    map's rows are padded to whole chunks, as in [20, 3] -> [0, 32, 64].
    """
    chunk = chunk_of(channels)
    return [0, *accumulate(-(-count // chunk) * chunk for count in channels)]


def pack_pointwise(weight: Tensor, channels: Sequence[int]) -> Tensor:
    """Lays [O, sum of channels, 1, 1] out as the kernel reads it: [K, O padded], each map's rows
    padded with zeros to whole chunks.
    """
    outputs, (*starts, rows) = weight.shape[0], row_starts(channels)
    packed = weight.new_zeros(rows, padded(outputs))
    parts = weight.reshape(outputs, -1).split([*channels], dim=1)
    for start, part in zip(starts, parts, strict=True):
        packed[start : start + part.shape[1], :outputs] = part.t()
    return packed


def pack_grouped(weight: Tensor, groups: int) -> Tensor:
    """Lays [O, C, 3, 3] out as the kernel reads it: [groups * 3 * 64, 16], for every group and row
    of the window three pixels of 16 channels and 16 zeros. A group has up to 16 channels in and
    out.
    """
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    packed = weight.new_zeros(groups, 3, WINDOW.value // GROUP, GROUP, GROUP)
    parts = weight.reshape(groups, outputs, inputs, 3, 3)
    packed[:, :, :3, :inputs, :outputs] = parts.permute(0, 3, 4, 2, 1)
    return packed.reshape(-1, GROUP)


def pack_projection(weight: Tensor, groups: int) -> Tensor:
    """Lays [O, C, 1, 1] out as the kernel reads it: [16 * groups, O padded]."""
    outputs, inputs = weight.shape[0], weight.shape[1] // groups
    packed = weight.new_zeros(groups, GROUP, padded(outputs))
    packed[:, :inputs, :outputs] = weight.reshape(outputs, groups, inputs).permute(1, 2, 0)
    return packed.reshape(groups * GROUP, -1)
