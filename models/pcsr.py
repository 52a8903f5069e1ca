"""Defines PCSR as published (ECCV 2024, arXiv 2407.21448), in eager PyTorch: the reference for
everything that is exported.

Upsamplers are numbered as in the paper: 0 is the heaviest, M-1 the lightest. The classifier's
outputs are in the order of the published code, lightest first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .flops import count_flops
from .liif import LiifUpsampler, UpsamplerSpec, pixel_centres, sample

COST_LR_SIZE = 16
ADM_ITERATIONS = 20
ADM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Prediction:
    """Holds what `PCSR.forward` returns, for a batch of B images of H x W output pixels."""

    image: Tensor
    """[B, 3, H, W] float, RGB nominally in [0, 1], not clipped."""
    assignment: Tensor
    """[B, H, W] int64, the upsampler of each pixel, 0 = heaviest."""
    difficulty: Tensor
    """[B, H, W] float in [0, 1], the probability of the heavier half of the upsamplers."""


class PCSR(nn.Module):
    """Joins a backbone, M upsamplers and, for M > 1, a classifier.

    upsamplers: how each is made, heaviest first.
    classifier_widths: hidden widths of the classifier; None for M = 1.
    mean, std: normalisation of RGB in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        upsamplers: Sequence[UpsamplerSpec],
        classifier_widths: Sequence[int] | None,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        self.encoder = backbone
        width = feature_width(backbone)
        self.names = sampler_names(len(upsamplers))
        for name, spec in zip(self.names, upsamplers, strict=True):
            self.add_module(name, LiifUpsampler(width, spec, 3))
        if classifier_widths is not None:
            spec = UpsamplerSpec(tuple(classifier_widths))
            self.classifier = LiifUpsampler(width, spec, len(upsamplers))
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def upsamplers(self) -> list[LiifUpsampler]:
        """Lists the upsamplers, heaviest first."""
        return [self.get_submodule(name) for name in self.names]  # type: ignore[misc]

    def cost_table(self, scale: float) -> Tensor:
        """Returns the share [M] of the FLOPs of (backbone + upsampler j) at a 16x16 input, heaviest
        first; it sums to 1.

        The published code normalises by the sum (the paper's text says softmax).
        """
        backbone, upsamplers = self.cost_flops(scale)
        cost = torch.tensor(upsamplers, dtype=torch.float32) + backbone
        return cost / cost.sum()

    def cost_flops(self, scale: float) -> tuple[int, list[int]]:
        """Counts FLOPs of the backbone and of each upsampler (all pixels) at a 16x16 input."""
        lr = torch.zeros(1, 3, COST_LR_SIZE, COST_LR_SIZE, device=self.mean.device)
        size = round(COST_LR_SIZE * scale)
        coordinates = pixel_centres((size, size), lr.device).view(1, -1, 2)
        cell = torch.tensor([2 / size, 2 / size], device=lr.device)
        features = self.encoder(lr)
        return (
            count_flops(self.encoder, lr),
            [count_flops(u, features, coordinates, cell) for u in self.upsamplers],
        )

    @torch.no_grad()
    def forward(
        self,
        image: Tensor,
        scale: float = 4.0,
        k: float = 0.0,
        adaptive: bool = False,
        refine: bool = True,
        pixel_batch_size: int = 300_000,
    ) -> Prediction:
        """Upscales images [B, 3, h, w], RGB in [0, 1], to round(h * scale) x round(w * scale).

        k: how much the cost of an upsampler counts in the routing (0: only the classifier).
        adaptive: route by adaptive decision making (paper section 3.3) instead of k.
        refine: replace light pixels next to heavy ones by their 3x3 mean (paper section 3.4).
        """
        height, width = (round(n * scale) for n in image.shape[-2:])
        normalised = (image - self.mean) / self.std
        features = self.encoder(normalised)
        queries = list(_queries((height, width), image, pixel_batch_size))
        cell = torch.tensor([2 / height, 2 / width], device=image.device)
        probabilities = self.probabilities(features, queries, cell)
        assignment = self._route(probabilities, scale, k, adaptive)
        pixels = self._upsample(normalised, features, queries, cell, assignment)
        out = pixels.transpose(1, 2).reshape(-1, 3, height, width)
        assignment = assignment.view(-1, height, width)
        if refine:
            out = refine_borders(out, assignment < heavy_count(len(self.names)))
        difficulty = difficulty_of(probabilities).view_as(assignment)
        return Prediction(out * self.std + self.mean, assignment, difficulty)

    def probabilities(self, features: Tensor, queries: list[Tensor], cell: Tensor) -> Tensor:
        """Computes the probabilities [B, Q, M] of all queries, heaviest first."""
        if len(self.names) == 1:
            count = sum(query.shape[1] for query in queries)
            return torch.ones(features.shape[0], count, 1, device=features.device)
        logits = torch.cat([self.classifier(features, query, cell) for query in queries], dim=1)
        return F.softmax(logits, dim=-1).flip(-1)

    def _route(self, probabilities: Tensor, scale: float, k: float, adaptive: bool) -> Tensor:
        """Chooses the upsampler [B, H*W] of each pixel; the lighter one where two are level."""
        if adaptive:
            return adaptive_assignment(difficulty_of(probabilities), len(self.names))
        cost = self.cost_table(scale).to(probabilities.device)
        lightest_first = (probabilities / cost**k).flip(-1)
        return len(self.names) - 1 - lightest_first.argmax(dim=-1)

    def _upsample(
        self,
        normalised: Tensor,
        features: Tensor,
        queries: list[Tensor],
        cell: Tensor,
        assignment: Tensor,
    ) -> Tensor:
        """Computes [B, H*W, 3]: each pixel by its own upsampler, plus its base."""
        rows = []
        start = 0
        for query in queries:
            out = sample(normalised, query, "bilinear")
            chosen = assignment[:, start : start + query.shape[1]]
            for j, upsampler in enumerate(self.upsamplers):
                for b in range(out.shape[0]):
                    picked = (chosen[b] == j).nonzero()[:, 0]
                    residual = upsampler(features[b : b + 1], query[b : b + 1, picked], cell)
                    if upsampler.spec.base == "none":
                        out[b, picked] = residual[0]
                    else:
                        out[b, picked] += residual[0]
            rows.append(out)
            start += query.shape[1]
        return torch.cat(rows, dim=1)


def sampler_names(count: int) -> list[str]:
    """Names M upsamplers as in a state dict, heaviest first; for M <= 2 as published."""
    if count <= 2:
        return ["heavy_sampler", "light_sampler"][:count]
    return [f"sampler_{j}" for j in range(count)]


def heavy_count(count: int) -> int:
    """Counts how many of M upsamplers belong to the heavier half, floor((M + 1) / 2)."""
    return (count + 1) // 2


def difficulty_of(probabilities: Tensor) -> Tensor:
    """Sums the probability of the heavier half: [..., M], heaviest first -> [...]."""
    return probabilities[..., : heavy_count(probabilities.shape[-1])].sum(dim=-1)


@torch.no_grad()
def feature_width(backbone: nn.Module) -> int:
    """Returns D of a backbone that maps [B, 3, h, w] to [B, D, h, w]."""
    training = backbone.training
    parameter = next(backbone.parameters(), torch.zeros(0))
    image = torch.zeros(1, 3, 8, 8, device=parameter.device)
    features: Tensor = backbone.eval()(image)
    backbone.train(training)
    if features.shape[-2:] != image.shape[-2:]:
        raise ValueError(
            f"a backbone must keep the image's size; {type(backbone).__name__} maps 8x8 to "
            f"{features.shape[-1]}x{features.shape[-2]} (does it have its own upsampling tail?)"
        )
    return features.shape[1]


def adaptive_assignment(difficulty: Tensor, count: int) -> Tensor:
    """Decides adaptively (ADM): M-means on the difficulties of the whole batch. [...] -> int64 of
    the same shape.

    Follows the published call of k-means: its first iteration, from one centroid at 0.5, turns the
    centroids of M = 2 into {mean, 0}; each label is that of the centroids before the last update;
    the cluster of the least difficulty is the lightest. For M > 2 the centroids start uniformly in
    [0, 1]. All light where all are equal.
    """
    low, high = difficulty.min(), difficulty.max()
    if low == high:
        return torch.full_like(difficulty, count - 1, dtype=torch.int64)
    values = ((difficulty - low) / (high - low)).flatten()
    if count == 2:
        centroids = torch.stack([values.mean(), torch.zeros_like(low)])
    else:
        centroids = torch.linspace(1, 0, count, device=values.device)
    with torch.autocast(values.device.type, enabled=False):  # sums of halves would be infinite
        for _ in range(ADM_ITERATIONS - 1):
            labels = (values[:, None] - centroids).square().argmin(dim=1)
            updated = _cluster_means(values, labels, centroids)
            shift = (updated - centroids).square().sum()
            centroids = updated
            if shift <= ADM_TOLERANCE:
                break
    return labels.view_as(difficulty)


def _cluster_means(values: Tensor, labels: Tensor, centroids: Tensor) -> Tensor:
    """Takes the mean [M] of each cluster; an empty one keeps its centroid."""
    members = torch.stack([labels == j for j in range(len(centroids))]).to(values.dtype)
    counts = members.sum(dim=1)
    return torch.where(counts > 0, members @ values / counts, centroids)


def refine_borders(image: Tensor, heavy: Tensor) -> Tensor:
    """Refines pixels: the 3x3 mean where a light pixel inside the frame touches a heavy one.

    image [B, 3, H, W], heavy [B, H, W] bool -> [B, 3, H, W].
    """
    around = F.max_pool2d(heavy[:, None].float(), 3, stride=1, padding=1) > 0
    changed = around & ~heavy[:, None]
    changed[..., [0, -1], :] = False
    changed[..., :, [0, -1]] = False
    mean = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.where(changed, mean, image)


def _queries(size: tuple[int, int], image: Tensor, batch: int) -> Iterator[Tensor]:
    """Yields the coordinates [B, <= batch, 2] of all output pixels, row by row."""
    coordinates = pixel_centres(size, image.device).view(1, -1, 2)
    for start in range(0, coordinates.shape[1], batch):
        yield coordinates[:, start : start + batch].expand(image.shape[0], -1, -1)
