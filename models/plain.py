"""A plain super-resolution network with its own upsampling tail: the baseline of every latency
table.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PlainNetwork(nn.Module):
    """image [B, 3, h, w] RGB in [0, 1] -> [B, 3, scale*h, scale*w], not clipped.

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
