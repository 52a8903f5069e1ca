"""Slow, obvious float64 forms of section 3 of the design. They share no code with the runtime."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]
ADM_ITERATIONS = 19  # 20 published, of which the first (from a centroid at 0.5) makes {mean, 0}
ADM_TOLERANCE = 1e-4


def position(n_in: int, n_out: int, i: int) -> Fraction:
    """Where the centre of output pixel i lies, in input pixels, exactly; not clamped."""
    return Fraction((2 * i + 1) * n_in, 2 * n_out) - Fraction(1, 2)


def clamped_position(n_in: int, n_out: int, i: int) -> Fraction:
    """`position`, moved to the nearest centre of an input pixel where it lies outside of all."""
    return min(max(position(n_in, n_out, i), Fraction(0)), Fraction(n_in - 1))


def published_coordinates(size: tuple[int, int]) -> torch.Tensor:
    """[H, W, 2] (row, column) float32 centres in the order of operations of `make_coord`."""
    axes = [-1 + 1 / n + (2 * (1 / n)) * torch.arange(n).float() for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def grid_sample(image: NDArray[Any], hr_size: tuple[int, int], mode: str) -> NDArray[np.float32]:
    """image [h, w, C] at the centres of hr_size, with border clamping -> [H, W, C] float32."""
    batch = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    grid = published_coordinates(hr_size).flip(-1)[None]
    out = F.grid_sample(batch, grid, mode=mode, padding_mode="border", align_corners=False)
    sampled: NDArray[np.float32] = out[0].permute(1, 2, 0).numpy()
    return sampled


def bilinear(image: NDArray[Any], hr_size: tuple[int, int]) -> Doubles:
    """Half-pixel centres, borders clamped. [h, w, C] -> [H, W, C]."""
    lr_size = (image.shape[0], image.shape[1])
    out = np.zeros((*hr_size, image.shape[2]))
    for i, j in np.ndindex(*hr_size):
        (top, bottom, a), (left, right, b) = (
            _taps(lr_size[axis], hr_size[axis], n) for axis, n in enumerate((i, j))
        )
        upper = (1 - b) * image[top, left].astype(float) + b * image[top, right]
        lower = (1 - b) * image[bottom, left].astype(float) + b * image[bottom, right]
        out[i, j] = (1 - a) * upper + a * lower
    return out


def _taps(n_in: int, n_out: int, i: int) -> tuple[int, int, float]:
    inside = clamped_position(n_in, n_out, i)
    first = int(inside)
    return first, min(first + 1, n_in - 1), float(inside - first)


def folded_mlp(
    arrays: Mapping[str, NDArray[Any]],
    features: NDArray[Any],
    offset: NDArray[Any],
    cell: NDArray[Any],
) -> Doubles:
    """An MLP of mlps.npz: features [D, H, W] of each pixel's nearest input pixel, offset [2, H, W]
    (row, column), cell [2] -> [outputs, H, W].
    """
    weights = {name: array.astype(np.float64) for name, array in arrays.items()}
    position = np.stack([weights["row_weight"], weights["column_weight"]], axis=1)
    constant = weights["bias"] + weights["cell_weight"] @ cell
    out = np.tensordot(weights["feature_weight"], features.astype(np.float64), 1)
    out += np.tensordot(position, offset.astype(np.float64), 1) + constant[:, None, None]
    for layer in range(1, sum(name.startswith("weight_") for name in weights) + 1):
        out = np.tensordot(weights[f"weight_{layer}"], np.maximum(out, 0), 1)
        out += weights[f"bias_{layer}"][:, None, None]
    return out


def refine(image: NDArray[Any], heavy: Mask) -> Doubles:
    """Section 3.4: 3x3 mean where light, inside the frame and beside a heavy pixel."""
    out = image.astype(np.float64)
    source = out.copy()
    for i in range(1, heavy.shape[0] - 1):
        for j in range(1, heavy.shape[1] - 1):
            around = slice(i - 1, i + 2), slice(j - 1, j + 2)
            if not heavy[i, j] and heavy[around].any():
                out[i, j] = sum(source[around].reshape(9, -1)) / 9
    return out


def lloyd(values: Doubles, centroids: Sequence[float]) -> tuple[NDArray[np.int64], Doubles]:
    """1-D k-means on pixels: labels of the centroids before the last update, and the updated."""
    current = np.array(centroids, dtype=np.float64)
    labels = np.zeros(len(values), dtype=np.int64)
    for _ in range(ADM_ITERATIONS):
        labels = np.abs(values[:, None] - current).argmin(axis=1)
        updated = current.copy()
        for j in range(len(current)):
            if (labels == j).any():
                updated[j] = values[labels == j].mean()
        shift = float(((updated - current) ** 2).sum())
        current = updated
        if shift <= ADM_TOLERANCE:
            break
    return labels, current


def normalise(difficulty: NDArray[Any]) -> Doubles:
    """Min-max over the image, to [0, 1]."""
    values = difficulty.astype(np.float64).ravel()
    out: Doubles = (values - values.min()) / (values.max() - values.min())
    return out


def adaptive_heavy(difficulty: NDArray[Any]) -> tuple[Mask, Doubles]:
    """Section 3.3 for M = 2: [N] heavy, and the final centroids {heavy, light}, normalised."""
    if difficulty.min() == difficulty.max():
        return np.zeros(difficulty.size, dtype=bool), np.zeros(2)
    values = normalise(difficulty)
    labels, centroids = lloyd(values, [float(values.mean()), 0.0])
    light = labels[int(values.argmin())]
    return labels != light, centroids


def best_upsampler(probabilities: Doubles, cost: Sequence[float], k: float) -> int:
    """argmax_j p_j / cost_j^k, upsamplers heaviest first; the lighter one where two are level."""
    best = 0
    utility = [np.log(p) - k * np.log(c) for p, c in zip(probabilities, cost, strict=True)]
    for j in range(1, len(utility)):
        if utility[j] >= utility[best]:
            best = j
    return best


def softmax(logits: NDArray[Any]) -> Doubles:
    """[..., M] -> probabilities."""
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    out: Doubles = weights / weights.sum(axis=-1, keepdims=True)
    return out


def cost_table(backbone: int, upsamplers: Sequence[int], scale: float) -> list[float]:
    """Section 3.2: share of flops(B) + flops(U_j) at a 16x16 input; upsamplers' are per pixel."""
    pixels = round(16 * scale) ** 2
    work = [backbone + pixels * upsampler for upsampler in upsamplers]
    return [value / sum(work) for value in work]


def neighbourhoods_agree(same: Mask) -> Mask:
    """[H, W] -> whether a pixel and all of its neighbours are set."""
    out = np.zeros_like(same)
    for i, j in np.ndindex(*same.shape):
        out[i, j] = same[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].all()
    return out
