"""Defines the per-pixel upsampler: a local implicit image function (LIIF, CVPR 2021, arXiv
2012.09161) without feature unfolding and local ensemble, as PCSR uses it (section 3.1 of the paper,
`models/sampler.py` of its code).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POSITION_WIDTH = 4


class Mlp(nn.Module):
    """Runs linear layers with ReLU between them. [..., inputs] -> [..., outputs]."""

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class LiifUpsampler(nn.Module):
    """Runs an MLP on [nearest feature, offset to it, cell size] at each queried pixel.

    Features [B, D, h, w] and coordinates [B, Q, 2] (row, column) in [-1, 1] -> [B, Q, outputs].
    """

    def __init__(self, feature_width: int, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.imnet = Mlp(feature_width + POSITION_WIDTH, widths, outputs)

    def forward(self, features: Tensor, coordinates: Tensor, cell: Tensor) -> Tensor:
        """Evaluates all queries. cell: [2], size of an output pixel, (2/H, 2/W)."""
        size = torch.tensor(features.shape[-2:], device=features.device)
        centres = pixel_centres((features.shape[-2], features.shape[-1]), features.device)
        centres = centres.permute(2, 0, 1).expand(features.shape[0], -1, -1, -1)
        offset = (coordinates - sample(centres, coordinates, "nearest")) * size
        position = torch.cat([offset, (cell * size).expand_as(offset)], dim=-1)
        inputs = torch.cat([sample(features, coordinates, "nearest"), position], dim=-1)
        out: Tensor = self.imnet(inputs)
        return out


def pixel_centres(size: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Returns the centres [height, width, 2] (row, column) of pixels that span [-1, 1]."""
    axes = [-1 + 1 / n + (2 / n) * torch.arange(n, device=device).float() for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def sample(image: Tensor, coordinates: Tensor, mode: str) -> Tensor:
    """Samples image [B, C, h, w] at (row, column) [B, Q, 2], borders clamped -> [B, Q, C]."""
    grid = coordinates.flip(-1).unsqueeze(1)
    padding = "zeros" if mode == "nearest" else "border"
    sampled = F.grid_sample(image, grid, mode=mode, padding_mode=padding, align_corners=False)
    return sampled[:, :, 0, :].permute(0, 2, 1)
