"""Defines FSRCNN (Dong et al., ECCV 2016, arXiv 1608.00367) with RGB input, as PCSR has it."""

from torch import Tensor, nn

from pcsr.models.registry import register_backbone

TAIL_KERNEL = 9


@register_backbone("fsrcnn")
class FSRCNN(nn.Module):
    """Maps [B, 3, h, w] -> [B, d, h, w] (`no_upsampling`), or -> [B, 3, upscale*h, upscale*w] with
    its deconvolution.

    d: feature channels; s: channels of the m shrunken 3x3 convolutions.
    """

    def __init__(
        self,
        input_channels: int = 3,
        upscale: int = 4,
        d: int = 56,
        s: int = 12,
        m: int = 4,
        no_upsampling: bool = False,
    ) -> None:
        super().__init__()
        self.scale = upscale
        self.no_upsampling = no_upsampling
        self.head_conv = nn.Sequential(nn.Conv2d(input_channels, d, 5, padding=2), nn.PReLU())
        shrink = nn.Sequential(nn.Conv2d(d, s, 1), nn.PReLU())
        mapping = [nn.Conv2d(s, s, 3, padding=1) for _ in range(m)]
        expand = nn.Sequential(nn.Conv2d(s, d, 1), nn.PReLU())
        self.body_conv = nn.Sequential(shrink, *mapping, nn.PReLU(), expand)
        if not no_upsampling:
            self.tail_conv = _deconvolution(d, input_channels, upscale)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.body_conv(self.head_conv(x))
        return features if self.no_upsampling else self.tail_conv(features)


def _deconvolution(inputs: int, outputs: int, scale: int) -> nn.ConvTranspose2d:
    odd = (TAIL_KERNEL - scale) % 2
    padding = (TAIL_KERNEL - scale + odd) // 2
    return nn.ConvTranspose2d(
        inputs, outputs, TAIL_KERNEL, stride=scale, padding=padding, output_padding=odd
    )
