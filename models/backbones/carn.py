"""Defines CARN-M (Ahn et al., ECCV 2018, arXiv 1803.08664) in the form that PCSR publishes: grouped
residual blocks with shared weights, BatchNorm in the 1x1 fusions.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pcsr.models.registry import register_backbone


class SharedResidual(nn.Module):
    """Adds two grouped 3x3 convolutions and a 1x1 to [B, nf, h, w], then ReLU; same shape."""

    def __init__(self, nf: int, group: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(nf, nf, 3, padding=1, groups=group),
            nn.ReLU(),
            nn.Conv2d(nf, nf, 3, padding=1, groups=group),
            nn.ReLU(),
            nn.Conv2d(nf, nf, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + x)


def fusion(inputs: int, nf: int) -> nn.Sequential:
    """Makes a 1x1 convolution of `inputs` concatenated maps of nf channels, BatchNorm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs * nf, nf, 1, bias=False), nn.BatchNorm2d(nf), nn.ReLU())


def cascade(x: Tensor, stages: Iterable[nn.Module], fusions: Iterable[nn.Module]) -> Tensor:
    """Runs three stages; each sees all before it, concatenated. [B, nf, h, w] -> same."""
    seen = out = x
    for stage, fuse in zip(stages, fusions, strict=True):
        seen = torch.cat([seen, stage(out)], dim=1)
        out = fuse(seen)
    return out


class Block(nn.Module):
    """Cascades one residual whose weights all three stages share."""

    def __init__(self, nf: int, group: int) -> None:
        super().__init__()
        self.b1 = SharedResidual(nf, group)
        self.c1, self.c2, self.c3 = (fusion(n, nf) for n in (2, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return cascade(x, [self.b1] * 3, [self.c1, self.c2, self.c3])


class PixelShuffleTail(nn.Module):
    """Upsamples [B, nf, h, w] by grouped convolutions and shuffles to [B, nf, scale*h, scale*w]."""

    def __init__(self, nf: int, scale: int, group: int) -> None:
        super().__init__()
        if scale not in (1, 2, 3, 4, 8, 16, 32, 64):
            raise ValueError(f"scale {scale} has no tail (2, 3, 4 and 8 have)")
        factors = [3] if scale == 3 else [2] * int(math.log2(scale))
        layers: list[nn.Module] = []
        for factor in factors:
            conv = nn.Conv2d(nf, nf * factor**2, 3, padding=1, groups=group)
            layers += [conv, nn.ReLU(), nn.PixelShuffle(factor)]
        self.up = nn.ModuleDict({"body": nn.Sequential(*layers)})

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up["body"](x)
        return out


@register_backbone("carn", mean=(0.4488, 0.4371, 0.4040))
class CARN(nn.Module):
    """Maps [B, 3, h, w] -> [B, nf, h, w] (`no_upsampling`), or -> [B, 3, scale*h, scale*w] with its
    own tail.
    """

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 64,
        scale: int = 4,
        group: int = 4,
        no_upsampling: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.entry = nn.Conv2d(in_nc, nf, 3, padding=1)
        self.b1, self.b2, self.b3 = (Block(nf, group) for _ in range(3))
        self.c1, self.c2, self.c3 = (fusion(n, nf) for n in (2, 3, 4))
        self.no_upsampling = no_upsampling
        if not no_upsampling:
            self.upsample = PixelShuffleTail(nf, scale, group)
            self.exit = nn.Conv2d(nf, out_nc, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        blocks, fusions = [self.b1, self.b2, self.b3], [self.c1, self.c2, self.c3]
        features = cascade(self.entry(x), blocks, fusions)
        if self.no_upsampling:
            return features
        image: Tensor = self.exit(self.upsample(features))
        return image
