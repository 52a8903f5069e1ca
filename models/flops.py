"""Counts FLOPs as the paper does: two per multiply-add of convolutions and linear layers, one per
element of a PReLU, two per element of a BatchNorm; a deconvolution is charged at its output size
(16 times its real cost at x4).

Source: `flops.py` of the published code. The cost table of the routing rests on these numbers.
"""

from typing import Any

import torch
from torch import Tensor, nn

PER_ELEMENT: dict[type[nn.Module], int] = {
    nn.PReLU: 1,
    nn.BatchNorm2d: 2,
    nn.InstanceNorm2d: 6,
    nn.LayerNorm: 8,
}


@torch.no_grad()
def count_flops(module: nn.Module, *inputs: Any) -> int:  # noqa: ANN401
    """Counts FLOPs of `module(*inputs)` as the paper does: of module calls, not functional ones."""
    total = 0

    def add(layer: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        total += _layer_flops(layer, args[0], out)

    leaves = [layer for layer in module.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(add) for layer in leaves]
    try:
        module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _layer_flops(layer: nn.Module, x: Tensor, out: Tensor) -> int:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        taps = layer.kernel_size[0] * layer.kernel_size[1] * layer.in_channels // layer.groups
        return 2 * taps * out.numel()
    if isinstance(layer, nn.Linear):
        return 2 * layer.in_features * out.numel()
    return PER_ELEMENT.get(type(layer), 0) * x.numel()
