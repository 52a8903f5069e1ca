"""Defines EDSR (Lim et al., CVPRW 2017, arXiv 1707.02921) as the LIIF code has it: `edsr-baseline`
has 16 blocks of 64 channels, `edsr` 32 blocks of 256 with residuals scaled by 0.1.
"""

import math

from torch import Tensor, nn

from pcsr.models.registry import register_backbone

LIIF_NORM = (0.5, 0.5, 0.5)
SCALES = (2, 3, 4, 8)


class ResidualBlock(nn.Module):
    """Adds conv, ReLU, conv, scaled, to the input. [B, n_feats, h, w] -> same."""

    def __init__(self, n_feats: int, res_scale: float) -> None:
        super().__init__()
        conv = (nn.Conv2d(n_feats, n_feats, 3, padding=1) for _ in range(2))
        self.body = nn.Sequential(next(conv), nn.ReLU(), next(conv))
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.body(x)
        return x + (residual if self.res_scale == 1 else residual * self.res_scale)


class EDSR(nn.Module):
    """Maps [B, 3, h, w] -> [B, n_feats, h, w] (`no_upsampling`), or -> [B, 3, scale*h, scale*w]
    with its own tail.

    rgb_range belongs to the authors' description; normalisation lies outside of the network here.
    """

    def __init__(
        self,
        n_resblocks: int,
        n_feats: int,
        res_scale: float,
        scale: int,
        no_upsampling: bool,
        rgb_range: float = 1,
    ) -> None:
        super().__init__()
        self.scale = scale
        blocks = [ResidualBlock(n_feats, res_scale) for _ in range(n_resblocks)]
        self.head = nn.Sequential(nn.Conv2d(3, n_feats, 3, padding=1))
        self.body = nn.Sequential(*blocks, nn.Conv2d(n_feats, n_feats, 3, padding=1))
        self.no_upsampling = no_upsampling
        if not no_upsampling:
            exit_conv = nn.Conv2d(n_feats, 3, 3, padding=1)
            self.tail = nn.Sequential(shuffling(n_feats, scale), exit_conv)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        features: Tensor = self.body(x) + x
        return features if self.no_upsampling else self.tail(features)


def shuffling(width: int, scale: int) -> nn.Sequential:
    """Upsamples [B, width, h, w] -> [B, width, scale*h, scale*w]: per factor of 2 or 3 a
    convolution and a pixel shuffle.

    Raises:
        ValueError: the scale is not 2, 3, 4 or 8.
    """
    if scale not in SCALES:
        raise ValueError(f"scale {scale} has no tail (2, 3, 4 and 8 have)")
    layers: list[nn.Module] = []
    for factor in [3] if scale == 3 else [2] * int(math.log2(scale)):
        conv = nn.Conv2d(width, width * factor**2, 3, padding=1)
        layers += [conv, nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)


@register_backbone("edsr-baseline", mean=LIIF_NORM, std=LIIF_NORM)
def edsr_baseline(
    n_resblocks: int = 16,
    n_feats: int = 64,
    res_scale: float = 1,
    scale: int = 2,
    no_upsampling: bool = False,
    rgb_range: float = 1,
) -> EDSR:
    """Builds EDSR-baseline with the arguments of the LIIF code."""
    return EDSR(n_resblocks, n_feats, res_scale, scale, no_upsampling, rgb_range)


@register_backbone("edsr", mean=LIIF_NORM, std=LIIF_NORM)
def edsr(
    n_resblocks: int = 32,
    n_feats: int = 256,
    res_scale: float = 0.1,
    scale: int = 2,
    no_upsampling: bool = False,
    rgb_range: float = 1,
) -> EDSR:
    """Builds the large EDSR with the arguments of the LIIF code."""
    return EDSR(n_resblocks, n_feats, res_scale, scale, no_upsampling, rgb_range)
