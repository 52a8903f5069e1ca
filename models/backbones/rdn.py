"""Defines RDN, the residual dense network (Zhang et al., CVPR 2018, arXiv 1802.08797), as the LIIF
code has it.
"""

import torch
from torch import Tensor, nn

from pcsr.models.registry import register_backbone

CONFIGS = {"A": (20, 6, 32), "B": (16, 8, 64)}
"""Blocks, convolutions of a block, channels that each of these adds."""


class DenseConv(nn.Module):
    """Joins what a convolution with ReLU makes to its input. [B, inputs, h, w] -> [B, inputs +
    growth, h, w].
    """

    def __init__(self, inputs: int, growth: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(inputs, growth, size), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.conv(x)), dim=1)


class DenseBlock(nn.Module):
    """Adds a 1x1 fusion of dense convolutions to the input. [B, width, h, w] -> same."""

    def __init__(self, width: int, growth: int, layers: int, size: int) -> None:
        super().__init__()
        dense = [DenseConv(width + i * growth, growth, size) for i in range(layers)]
        self.convs = nn.Sequential(*dense)
        self.LFF = nn.Conv2d(width + layers * growth, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.LFF(self.convs(x)) + x
        return out


@register_backbone("rdn", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
class RDN(nn.Module):
    """Maps [B, 3, h, w] -> [B, G0, h, w] (`no_upsampling`), or -> [B, 3, scale*h, scale*w] with its
    own tail. The arguments have the names of the authors' code.
    """

    def __init__(
        self,
        G0: int = 64,
        RDNkSize: int = 3,
        RDNconfig: str = "B",
        scale: int = 2,
        no_upsampling: bool = False,
    ) -> None:
        super().__init__()
        if RDNconfig not in CONFIGS:
            raise ValueError(f"RDNconfig is {RDNconfig!r:.40}, expected A or B")
        blocks, layers, growth = CONFIGS[RDNconfig]
        size = RDNkSize
        self.scale = scale
        self.SFENet1, self.SFENet2 = _conv(3, G0, size), _conv(G0, G0, size)
        self.RDBs = nn.ModuleList(DenseBlock(G0, growth, layers, size) for _ in range(blocks))
        self.GFF = nn.Sequential(nn.Conv2d(blocks * G0, G0, 1), _conv(G0, G0, size))
        self.no_upsampling = no_upsampling
        if not no_upsampling:
            self.UPNet = _tail(G0, growth, scale, size)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.SFENet1(x)
        out = self.SFENet2(shallow)
        seen = []
        for block in self.RDBs:
            out = block(out)
            seen.append(out)
        features: Tensor = self.GFF(torch.cat(seen, dim=1)) + shallow
        return features if self.no_upsampling else self.UPNet(features)


def _conv(inputs: int, outputs: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=(size - 1) // 2)


def _tail(width: int, growth: int, scale: int, size: int) -> nn.Sequential:
    if scale not in (2, 3, 4):
        raise ValueError(f"scale {scale} has no tail (2, 3 and 4 have)")
    factors = [2, 2] if scale == 4 else [scale]
    layers: list[nn.Module] = []
    for factor in factors:
        layers += [_conv(width, growth * factor**2, size), nn.PixelShuffle(factor)]
        width = growth
    return nn.Sequential(*layers, _conv(growth, 3, size))
