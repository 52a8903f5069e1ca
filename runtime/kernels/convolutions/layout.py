"""Images as the convolution kernels read and write them."""

from collections.abc import Sequence

from torch import Tensor


def pixels_last(x: Tensor) -> Tensor:
    """[n, c, h, w] with a pixel's channels side by side and all pixels evenly spaced (`stride(3)`),
    as channels_last images and slices of their channels are; others are copied.
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
    """[n, c, h, w], channels last, with the type and device of `like`."""
    count, channels, height, width = shape
    return like.new_empty((count, height, width, channels)).permute(0, 3, 1, 2)
