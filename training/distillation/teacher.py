"""Runs the network that is imitated, with its weights as they are."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pcsr.export.graphs.folding import FoldedBackbone, fold_upsamplers
from pcsr.export.network import NetworkSettings, build_network, completed
from pcsr.models import PCSR, PlainNetwork
from pcsr.models.checkpoint import Checkpoint
from pcsr.runtime.geometry.grid import Grid

CHUNK = 2048  # pixels at once, whose activations stay in a core's cache


class Teacher:
    """Computes colours of output pixels: a PCSR or LIIF network by its heaviest upsampler at any
    scale, a plain network at its own.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        network = build_network(checkpoint, completed(NetworkSettings(), checkpoint))
        self._plain = network if isinstance(network, PlainNetwork) else None
        if isinstance(network, PCSR):
            self._base = network.upsamplers[0].spec.base
            self._mlp = fold_upsamplers(network)[0]
            self._backbone = FoldedBackbone(network, [self._mlp]).eval()

    def knows(self, scale: float) -> bool:
        """Says whether it upscales by that factor."""
        return self._plain is None or self._plain.scale == scale

    @torch.no_grad()
    def colours(self, lr: Tensor, grid: Grid, drawn: Tensor) -> Tensor:
        """Upscales an image [3, h, w], RGB in [0, 1]; returns the drawn flat output pixels [Q], as
        [Q, 3] in the same unit, not clipped.
        """
        if self._plain is not None:
            image: Tensor = self._plain(lr[None])[0]
            return image.flatten(1)[:, drawn].T
        _, rows = self._backbone(lr[None])
        located = grid.locate(drawn.numpy(), self._mlp.neighbours)
        index, offset = (torch.split(torch.from_numpy(part), CHUNK) for part in located)
        cell = torch.from_numpy(grid.cell)
        parts = [self._mlp(rows, i, o, cell) for i, o in zip(index, offset, strict=True)]
        out = torch.cat(parts)
        return out if self._base == "none" else out + bilinear(lr, grid, drawn)


def bilinear(lr: Tensor, grid: Grid, drawn: Tensor) -> Tensor:
    """Upscales an image [3, h, w] bilinearly; returns the drawn flat pixels [Q] as [Q, 3]."""
    image = F.interpolate(lr[None], size=grid.hr_size, mode="bilinear", align_corners=False)[0]
    return image.flatten(1)[:, drawn].T
