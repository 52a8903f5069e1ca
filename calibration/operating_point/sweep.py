"""Measures quality against the share of heavy pixels, on the user's images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pcsr.calibration.images import MOST_PSNR_DB, finite_psnr_db, read_pair
from pcsr.calibration.work_file import ShowProgress, WorkFile
from pcsr.manifest import Costs
from pcsr.metrics import Pixels
from pcsr.runtime.routing.operating_point import Point
from pcsr.runtime.routing.request import LARGEST_K, RoutingRequest
from pcsr.runtime.routing.rule import fixed_rule, sigmoid
from pcsr.runtime.upscaler import Result, Upscaler

SHARES = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.01)
RATIOS = (0.75, 0.5, 0.3, 0.2, 0.1, 0.05)
QUANTILES = 257
LARGEST_LOGIT = 16.0  # float32 probabilities do not tell larger ones apart


@dataclass(frozen=True)
class Sweep:
    """Says how the quality is measured."""

    upscaler: Upscaler
    scale: float
    refine: bool
    assumed_psnr_db: float | None
    """The PSNR of all heavy, by which losses are estimated; None where there are originals."""
    max_pixels: int

    def pair(self, path: Path) -> tuple[Pixels | None, Pixels]:
        """Reads (original or None, input) as RGB uint8."""
        lr_only = self.assumed_psnr_db is not None
        return read_pair(path, self.scale, lr_only, self.max_pixels)

    def run(self, lr: Pixels, request: RoutingRequest) -> Result:
        return self.upscaler.run(lr, self.scale, replace(request, refine=self.refine))


def sweep(
    task: Sweep, images: Sequence[Path], work: WorkFile, show: ShowProgress
) -> tuple[Point, ...]:
    """Takes the mean over the images of each point: by k from heavy to light, then by share."""
    logits = []
    with show(images, "difficulties") as watched:
        for path in watched:
            logits.append(work.answer(f"logits {path}", partial(_logits, task, path)))
    requests = grid(task.upscaler.bundle.manifest.costs, task.scale, logits)
    scores = []
    with show(images, "quality") as watched:
        for path in watched:
            found = work.answer(f"scores {path}", partial(_scores, task, path, requests))
            scores.append(found)
    means = np.mean(scores, axis=0)
    worst = np.max(np.array(scores)[:, :, 2], axis=0)
    return tuple(
        _point(task, request, [float(figure) for figure in (*mean, most)])
        for request, mean, most in zip(requests, means, worst, strict=True)
    )


def grid(
    costs: Costs, scale: float, logits: Sequence[Sequence[float]]
) -> tuple[RoutingRequest, ...]:
    """Lists requests from all heavy to all light, at about SHARES heavy pixels. logits: quantiles
    of each image's difficulty logits; all images count alike.
    """
    cost = costs.cost_table(scale)
    per_k = math.log(float(cost[0]) / float(cost[-1]))
    pooled = np.sort(np.concatenate(logits))
    cuts = np.quantile(pooled, [1 - share for share in SHARES])
    inner = sorted({0.0, *(round(float(cut) / per_k, 4) for cut in cuts)})
    by_k = [RoutingRequest(k=k) for k in (-LARGEST_K, *inner, LARGEST_K)]
    return (*by_k, *(RoutingRequest(heavy_ratio=ratio) for ratio in RATIOS))


def estimated_loss_db(fidelity_db: float, assumed_psnr_db: float) -> float:
    """Estimates the loss of PSNR against an original, of an image that is `fidelity_db` close to
    the all-heavy one: what differs adds to that one's errors, if independent of them.
    """
    return 10 * math.log10(1 + 10 ** ((assumed_psnr_db - fidelity_db) / 10))


def _logits(task: Sweep, path: Path) -> list[float]:
    difficulty = task.run(task.pair(path)[1], RoutingRequest()).difficulty
    assert difficulty is not None
    inside: NDArray[np.float64] = difficulty.astype(np.float64).clip(1e-12, 1 - 1e-12)
    logit = np.log(inside / (1 - inside)).clip(-LARGEST_LOGIT, LARGEST_LOGIT)
    return [float(value) for value in np.quantile(logit, np.linspace(0, 1, QUANTILES))]


def _scores(task: Sweep, path: Path, requests: Sequence[RoutingRequest]) -> list[list[float]]:
    """Measures [heavy share, PSNR, loss] of each request; the first one is all heavy."""
    hr, lr = task.pair(path)
    border = math.ceil(task.scale)
    best = task.run(lr, requests[0]).image
    best_db = MOST_PSNR_DB if hr is None else finite_psnr_db(best, hr, border)
    scores = []
    for request in requests:
        result = task.run(lr, request)
        found_db = finite_psnr_db(result.image, best if hr is None else hr, border)
        loss_db = best_db - found_db
        if task.assumed_psnr_db is not None:
            identical = found_db == MOST_PSNR_DB
            loss_db = 0.0 if identical else estimated_loss_db(found_db, task.assumed_psnr_db)
        scores.append([result.stats.heavy_share, found_db, loss_db])
    return scores


def _point(task: Sweep, request: RoutingRequest, measured: Sequence[float]) -> Point:
    cost = task.upscaler.bundle.manifest.costs.cost_table(task.scale)
    cut = None if request.needs_statistics else fixed_rule(cost, request.cost_weight).cut
    k = None if request.needs_statistics else request.k
    difficulty = None if cut is None else float(sigmoid(cut))
    return Point(k, request.heavy_ratio, difficulty, *measured)
