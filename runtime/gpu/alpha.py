"""Colours under transparent pixels: this does what `runtime.cpu.alpha` does, for torch tensors."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d


def bleed_colours(image: Tensor) -> Tensor:
    """Returns [h,w,2] or [h,w,4], alpha last, with other colours where alpha is 0 (or below).

    The rest stays as it is. Expects finite values.
    """
    planes = image.permute(2, 0, 1).to(torch.float32)  # uint16 has no arithmetic
    weights = planes[-1:].clamp(min=0)
    hidden = weights == 0
    if not bool(hidden.any()) or bool(hidden.all()):
        return image
    colours = torch.where(hidden, _filled(planes[:-1], weights), planes[:-1])
    if not image.dtype.is_floating_point:
        colours = colours.round().to(torch.int32)
    return torch.cat([colours.permute(1, 2, 0).to(image.dtype), image[..., -1:]], 2)


def _filled(colours: Tensor, weights: Tensor) -> Tensor:
    """Returns [c,h,w] with the colours of larger blocks where the weight [1,h,w] is 0."""
    height, width = weights.shape[1:]
    if max(height, width) == 1:
        return colours
    totals = _means(weights)
    means = torch.where(totals > 0, _means(colours * weights) / totals, 0)
    larger = _filled(means, totals).repeat_interleave(2, 1).repeat_interleave(2, 2)
    return torch.where(weights > 0, colours, larger[:, :height, :width])


def _means(planes: Tensor) -> Tensor:
    # Also of incomplete blocks at the rim: their fewer pixels divide colours and weights alike.
    return avg_pool2d(planes[None], 2, ceil_mode=True)[0]
