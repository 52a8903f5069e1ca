"""Images as networks in PyTorch take and give them; on any device."""

import torch
from torch import Tensor


def to_planes(image: Tensor) -> Tensor:
    """[h, w, 3] uint8 -> [1, 3, h, w] float32 in [0, 1]."""
    return image.permute(2, 0, 1)[None].float() / 255


def to_bytes(upscaled: Tensor) -> Tensor:
    """[1, 3, H, W] in [0, 1] -> [H, W, 3] uint8, contiguous."""
    levels = (upscaled[0] * 255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous()
