"""Defines a plain super-resolution network with its own tail: the baseline of latency tables."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

PROBE = 8  # side of the image that is tried
LARGEST_SCALE = 64


class PlainNetwork(nn.Module):
    """Maps image [B, 3, h, w] RGB in [0, 1] -> [B, 3, scale*h, scale*w], not clipped.

    The wrapped network works on (image - mean) / std.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, scale: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.network((image - self.mean) / self.std)
        return out * self.std + self.mean


@torch.no_grad()
def tail_scale(network: nn.Module) -> int:
    """Finds the scale of a network with its own tail, [B, 3, h, w] -> [B, 3, scale*h, scale*w].

    Raises:
        ValueError: it does not upscale an image, or not by its attribute `scale`.
    """
    scale = getattr(network, "scale", None)
    if isinstance(scale, int | float) and not 1 <= scale <= LARGEST_SCALE:
        raise ValueError(f"its scale must lie between 1 and {LARGEST_SCALE}, found {scale:g}")
    try:
        out = network.eval()(torch.zeros(1, 3, PROBE, PROBE))
    except RuntimeError as error:
        raise ValueError(f"it cannot upscale: {error}") from error
    if not isinstance(scale, int) or out.shape != (1, 3, PROBE * scale, PROBE * scale):
        raise ValueError(
            f"it maps [1, 3, {PROBE}, {PROBE}] to {list(out.shape)}, expected an upscaled RGB "
            "image (no_upsampling: false)"
        )
    return scale
