"""Defines IMDN with collapsible linear blocks (Efficient Image Super-Resolution with Collapsible
Linear Blocks, NTIRE 2022): information multi-distillation without attention, every 3x3 convolution
over-parameterised by a parallel 1x1 while it trains.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pcsr.models.registry import register_backbone

KEPT = 16  # channels that each step of a block distils
AnyModule = TypeVar("AnyModule", bound=nn.Module)
MakeConv = Callable[[int, int], nn.Module]


class CollapsibleConv(nn.Module):
    """Adds a 3x3 convolution and a 1x1; `collapse` gives one 3x3 that computes the same."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.point = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.wide(x) + self.point(x)
        return out

    @torch.no_grad()
    def collapse(self) -> nn.Conv2d:
        """Adds the 1x1 as a 3x3 that is zero but in the middle."""
        outputs, inputs = self.wide.weight.shape[:2]
        single = nn.Conv2d(inputs, outputs, 3, padding=1).to(self.wide.weight)
        single.weight.copy_(self.wide.weight + F.pad(self.point.weight, (1, 1, 1, 1)))
        if self.wide.bias is not None and single.bias is not None:
            single.bias.copy_(self.wide.bias)
        return single


def collapse(network: AnyModule) -> AnyModule:
    """Returns a copy with every collapsible convolution in its single-branch form, as `pcsr-export`
    makes of any network: the same function, whose weights fit `IMDN(..., collapsed=True)`.
    """
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, CollapsibleConv):
                setattr(parent, name, child.collapse())
    return network


class DistillationBlock(nn.Module):
    """Runs three steps that each keep 16 channels and pass on the rest, and a fourth of 16; the
    kept ones are joined, mixed by a 1x1 and added to the input. [B, nf, h, w] -> same.
    """

    def __init__(self, nf: int, conv: MakeConv) -> None:
        super().__init__()
        passed = nf - KEPT
        self.steps = nn.ModuleList([conv(nf, nf), conv(passed, nf), conv(passed, nf)])
        self.last = conv(passed, KEPT)
        self.fuse = nn.Conv2d(4 * KEPT, nf, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        out = x
        for step in self.steps:
            distilled = F.leaky_relu(step(out), 0.05)
            kept.append(distilled[:, :KEPT])
            out = distilled[:, KEPT:]
        joined = torch.cat([*kept, self.last(out)], dim=1)
        mixed: Tensor = self.fuse(joined) + x
        return mixed


@register_backbone("imdn")
class IMDN(nn.Module):
    """Maps [B, 3, h, w] -> [B, nf, h, w] (`no_upsampling`), or -> [B, 3, scale*h, scale*w] with a
    pixel-shuffle tail.

    nb: number of blocks. collapsed: build the single-branch form, as in a collapsed checkpoint.
    """

    def __init__(
        self,
        nf: int = 64,
        nb: int = 7,
        scale: int = 4,
        collapsed: bool = False,
        no_upsampling: bool = False,
    ) -> None:
        super().__init__()
        single = partial(nn.Conv2d, kernel_size=3, padding=1)
        conv: MakeConv = single if collapsed else CollapsibleConv
        self.scale = scale
        self.no_upsampling = no_upsampling
        self.head = conv(3, nf)
        self.blocks = nn.Sequential(*(DistillationBlock(nf, conv) for _ in range(nb)))
        self.after = conv(nf, nf)
        if not no_upsampling:
            self.tail = conv(nf, 3 * scale**2)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        features: Tensor = self.after(self.blocks(shallow)) + shallow
        return features if self.no_upsampling else F.pixel_shuffle(self.tail(features), self.scale)
