"""Defines the two losses of PCSR (paper section 3.4, `train_pcsr.py` of its code)."""

from torch import Tensor
from torch.nn import functional as F

AXES = ((1, 1, 1), (1, -1, 0), (1, 1, -2))  # of RGB: one of brightness, two of colour


def reconstruction_loss(residual: Tensor, target: Tensor, chroma_weight: float = 0) -> Tensor:
    """Takes the mean absolute difference of two residuals (HR minus bilinear), [B, Q, 3].

    chroma_weight: 0 takes it of R, G and B, as published; else of brightness, and so many times of
    two axes of colour (all three at right angles and of length 1).
    """
    error = residual - target
    if chroma_weight:
        axes = F.normalize(error.new_tensor(AXES))
        axes[1:] *= chroma_weight
        error = error @ axes.T
    return error.abs().mean()


def average_loss(probabilities: Tensor) -> Tensor:
    """Measures how far upsamplers are from equal shares: mean over j of |sum of p_j - N/M| / (N/M).

    probabilities: [B, Q, M], N = B * Q. The paper sums |sum of p_j - N/M| over j; the published
    code, whose weight of 3 goes with it, divides by N/M and takes one of the two equal terms of M =
    2: the mean over j.
    """
    share = probabilities.numel() / probabilities.shape[-1] ** 2
    used = probabilities.flatten(0, -2).sum(dim=0)
    return (used - share).abs().mean() / share
