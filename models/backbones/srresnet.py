"""Defines SRResNet without BatchNorm (Ledig et al., CVPR 2017, arXiv 1609.04802), as in PCSR."""

from torch import Tensor, nn
from torch.nn import functional as F

from pcsr.models.registry import register_backbone


class ResidualBlock(nn.Module):
    """Adds conv, ReLU, conv to the input. [B, nf, h, w] -> same."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(nf, nf, 3, padding=1)
        self.conv2 = nn.Conv2d(nf, nf, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(F.relu(self.conv1(x)))
        return out


@register_backbone("srresnet")
class SRResNet(nn.Module):
    """Maps [B, 3, h, w] -> [B, nf, h, w] (`no_upsampling`), or -> [B, 3, upscale*h, upscale*w] with
    its own tail, which adds the bilinearly upsampled input. nb: number of residual blocks.
    """

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nf: int = 64,
        nb: int = 16,
        upscale: int = 4,
        no_upsampling: bool = False,
    ) -> None:
        super().__init__()
        self.scale = upscale
        self.no_upsampling = no_upsampling
        self.conv_first = nn.Conv2d(in_nc, nf, 3, padding=1)
        self.recon_trunk = nn.Sequential(*(ResidualBlock(nf) for _ in range(nb)))
        if not no_upsampling:
            self._build_tail(nf, out_nc)

    def _build_tail(self, nf: int, out_nc: int) -> None:
        if self.scale not in (2, 3, 4):
            raise ValueError(f"upscale {self.scale} has no tail (2, 3 and 4 have)")
        factor = 3 if self.scale == 3 else 2
        self.upconv1 = nn.Conv2d(nf, nf * factor**2, 3, padding=1)
        if self.scale == 4:
            self.upconv2 = nn.Conv2d(nf, nf * factor**2, 3, padding=1)
        self.pixel_shuffle = nn.PixelShuffle(factor)
        self.HRconv = nn.Conv2d(nf, nf, 3, padding=1)
        self.conv_last = nn.Conv2d(nf, out_nc, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.recon_trunk(_leaky(self.conv_first(x)))
        return features if self.no_upsampling else self._tail(features, x)

    def _tail(self, features: Tensor, x: Tensor) -> Tensor:
        out = _leaky(self.pixel_shuffle(self.upconv1(features)))
        if self.scale == 4:
            out = _leaky(self.pixel_shuffle(self.upconv2(out)))
        base = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        residual: Tensor = self.conv_last(_leaky(self.HRconv(out)))
        return residual + base


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)
