"""Defines a backbone that continues another one: its features go through a neck of convolutions."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from pcsr.models.pcsr import feature_width
from pcsr.models.registry import make_backbone, register_backbone

from .edsr import ResidualBlock

NAME = "extended"


class Neck(nn.Module):
    """Maps features [B, width, h, w] -> [B, features, h, w]: residual blocks, then a convolution.

    The blocks begin as the identity: the last convolution of each is zero.
    """

    def __init__(self, width: int, blocks: int, features: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_identity_block(width) for _ in range(blocks)))
        self.exit = nn.Conv2d(width, features, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.exit(self.blocks(features))
        return out


def _identity_block(width: int) -> ResidualBlock:
    block = ResidualBlock(width, 1)
    last = block.body[-1]
    nn.init.zeros_(last.get_parameter("weight"))
    nn.init.zeros_(last.get_parameter("bias"))
    return block


class Extended(nn.Module):
    """Maps an image [B, 3, h, w] -> [B, features, h, w]: another backbone, and a neck behind it."""

    def __init__(self, encoder: nn.Module, neck: Neck) -> None:
        super().__init__()
        self.encoder = encoder
        self.neck = neck

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.neck(self.encoder(image))
        return out


@register_backbone(NAME)
def extended(encoder: Mapping[str, Any], neck: Mapping[str, int]) -> Extended:
    """Builds it. encoder: `name` and `args` of another backbone; neck: `blocks` and `features`.

    Raises:
        CheckpointError: the other backbone is unknown or cannot be built.
    """
    backbone = make_backbone(encoder["name"], encoder.get("args") or {})
    return Extended(backbone, Neck(feature_width(backbone), **neck))
