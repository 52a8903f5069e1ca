"""Defines the per-pixel upsampler: a local implicit image function (LIIF, CVPR 2021, arXiv
2012.09161). PCSR uses it without feature unfolding and local ensemble, and adds it to a bilinear
base (section 3.1 of its paper, `models/sampler.py` of its code).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Neighbours = Literal[1, 4]
Base = Literal["bilinear", "none"]

SHIFT, LEAST_AREA = 1e-6, 1e-9


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


@dataclass(frozen=True)
class UpsamplerSpec:
    """Describes an upsampler."""

    widths: tuple[int, ...]
    """Hidden widths of its MLP."""
    neighbours: Neighbours = 1
    """How many of the nearest input pixels it is evaluated at: 4 is LIIF's local ensemble."""
    base: Base = "bilinear"
    """What its result is added to: the bilinear upsample of the image, or nothing."""
    unfold: bool = False
    """Whether it reads the 3x3 features around an input pixel, zeros outside of the image."""
    cell: bool = True
    """Whether it reads the size of an output pixel."""


class LiifUpsampler(nn.Module):
    """Runs an MLP on [nearest feature, offset to it, cell size] at each queried pixel; with four
    neighbours at each of them, and weighs the results by area (LIIF, section 3, local ensemble).

    Features [B, D, h, w] and coordinates [B, Q, 2] (row, column) in [-1, 1] -> [B, Q, outputs].
    """

    def __init__(self, feature_width: int, spec: UpsamplerSpec, outputs: int) -> None:
        super().__init__()
        inputs = feature_width * (9 if spec.unfold else 1) + (4 if spec.cell else 2)
        self.imnet = Mlp(inputs, spec.widths, outputs)
        self.spec = spec

    def forward(self, features: Tensor, coordinates: Tensor, cell: Tensor) -> Tensor:
        """Evaluates all queries. cell: [2], size of an output pixel, (2/H, 2/W)."""
        if self.spec.unfold:
            features = _unfolded(features)
        if self.spec.neighbours == 1:
            return self._evaluate(features, coordinates, coordinates, cell)[0]
        shifted = neighbour_coordinates(coordinates, features.shape[-2:])
        results = [self._evaluate(features, coordinates, at, cell) for at in shifted]
        areas = [offset.prod(dim=-1).abs() + LEAST_AREA for _, offset in results]
        total = torch.stack(areas).sum(dim=0)
        weights = [(area / total).unsqueeze(-1) for area in reversed(areas)]  # of the diagonal one
        out = torch.zeros_like(results[0][0])
        for (result, _), weight in zip(results, weights, strict=True):
            out = out + result * weight
        return out

    def _evaluate(
        self, features: Tensor, coordinates: Tensor, at: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Runs the MLP with the features nearest to `at`; also returns the offset [B, Q, 2]."""
        size = torch.tensor(features.shape[-2:], device=features.device)
        centres = pixel_centres((features.shape[-2], features.shape[-1]), features.device)
        centres = centres.permute(2, 0, 1).expand(features.shape[0], -1, -1, -1)
        offset = (coordinates - sample(centres, at, "nearest")) * size
        parts = [sample(features, at, "nearest"), offset]
        if self.spec.cell:
            parts.append((cell * size).expand_as(offset))
        out: Tensor = self.imnet(torch.cat(parts, dim=-1))
        return out, offset


def _unfolded(features: Tensor) -> Tensor:
    """Joins the 3x3 features around each pixel: [B, D, h, w] -> [B, 9 D, h, w]."""
    windows = F.unfold(features, 3, padding=1)
    return windows.view(*windows.shape[:2], *features.shape[2:])


def neighbour_coordinates(coordinates: Tensor, size: Sequence[int]) -> list[Tensor]:
    """Shifts coordinates [B, Q, 2] by half an input pixel, so that each lies nearest to one of the
    four pixels around: (up, left), (up, right), (down, left), (down, right). size: (h, w).
    """
    moved = []
    for row, column in itertools.product((-1, 1), (-1, 1)):
        at = coordinates.clone()
        at[..., 0] += row / size[0] + SHIFT
        at[..., 1] += column / size[1] + SHIFT
        moved.append(at.clamp_(-1 + SHIFT, 1 - SHIFT))
    return moved


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
