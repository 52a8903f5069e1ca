"""Tests whether a path gives what the float32 PyTorch network gives: the bundle's own vectors, and
in half precision the exporter's quality cases.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.records import Record
from pcsr.export.verification.checks import AnyCheck, DifferenceCheck
from pcsr.export.verification.fp32 import IMAGE_TOLERANCE, difference, inner
from pcsr.export.verification.half import (
    LEAST_DB,
    Floats,
    ImageAndLabels,
    QualityCase,
    psnr_db,
    quality_checks,
)
from pcsr.vectors import Vector

MOST_APART = 0.02  # in half precision, of a value in [0, 1]: 5 levels of 255; usual are 0.2 to 1
REPLAYED = "recorded frame"


@dataclass(frozen=True)
class PathResult:
    """Holds what a path makes of an image."""

    image: Floats
    """[H, W, 3]."""
    assignment: NDArray[np.uint8] | None
    """[H, W]; None without routing."""
    stages: Sequence[str] = ()


Run = Callable[[Any, float, dict[str, Any]], PathResult]
"""(image [h, w, 3] float32, an array or a tensor; scale; options of a call) -> result."""


@dataclass(frozen=True)
class VectorCheck:
    """One vector in half precision: where both routed a pixel and its neighbours alike, the results
    must be close; how many were routed otherwise is reported, and judged by the quality cases.
    """

    what: str
    difference: float
    psnr_db: float
    least_db: float
    rerouted_px: int
    pixels: int

    @property
    def passed(self) -> bool:
        return self.psnr_db >= self.least_db and self.difference <= MOST_APART

    @property
    def found(self) -> str:
        """Says what it found, in words."""
        return (
            f"{self.psnr_db:.1f} dB where routed alike (at least {self.least_db:g}), difference up "
            f"to {self.difference:.1e} (allowed {MOST_APART:g})"
        )


def check_path(
    run: Run,
    vectors: Sequence[Vector],
    cases: Sequence[QualityCase],
    precision: str,
    device: torch.device | None,
    calls: int,
    must_replay: bool,
) -> Record:
    """Checks every vector from arrays and, where `device` is given, from a tensor there; then the
    quality cases in half precision. The figures are the worst.

    calls: with each array, of which the last is checked. must_replay: it must be a replay.
    """
    checks: list[AnyCheck | VectorCheck] = []
    for vector in vectors:
        expected = PathResult(vector.expected, vector.assignment)
        options = {"adaptive": True} if vector.adaptive else {}
        for _ in range(calls):
            found = run(vector.image, vector.scale, options)
        if must_replay and REPLAYED not in found.stages:
            raise RuntimeError(f"{vector.name}: call {calls} was not replayed from a recording")
        checks.append(compare(vector.name, found, expected, precision))
        if device is not None:
            image = torch.from_numpy(vector.image).to(device)
            found = run(image, vector.scale, options)
            checks.append(compare(f"{vector.name}, from a tensor", found, expected, precision))
    if precision != "fp32":

        def in_mode(image: Floats, scale: float, adaptive: bool) -> ImageAndLabels:
            found = run(image, scale, {"adaptive": adaptive} if adaptive else {})
            return found.image, found.assignment

        checks += quality_checks("this path", in_mode, cases, precision)
    return summary(checks)


def summary(checks: Sequence[Any]) -> Record:
    """Gives the worst of all figures, and what failed in words."""
    failed = [check for check in checks if not check.passed]
    exact = [c.difference for c in checks if hasattr(c, "difference")]
    losses = [c.psnr_loss_db for c in checks if hasattr(c, "psnr_loss_db")]
    decibels = [c.psnr_db for c in checks if hasattr(c, "psnr_db")]
    pixels = sum(check.pixels for check in checks)
    rerouted = sum(check.rerouted_px for check in checks)
    return {
        "checks": len(checks),
        "failed": len(failed),
        "passed": not failed and bool(checks),
        "worst_difference": max(exact, default=None),
        "worst_loss_db": max(losses, default=None),
        "least_psnr_db": min(decibels, default=None),
        "routed_alike": 1 - rerouted / pixels if pixels else None,
        "what_failed": [f"{check.what}: {check.found}" for check in failed],
    }


def compare(
    what: str,
    found: PathResult,
    expected: PathResult,
    precision: str,
    tolerance: float = IMAGE_TOLERANCE,
) -> AnyCheck | VectorCheck:
    """Compares one result with another, by the rule of the precision."""
    where = np.ones(found.image.shape[:2], dtype=np.bool_)
    rerouted = pixels = 0
    if expected.assignment is not None:
        same = np.asarray(found.assignment) == expected.assignment
        where, rerouted, pixels = inner(same), int((~same).sum()), same.size
    apart = difference(found.image, expected.image, where)
    if precision == "fp32":
        return DifferenceCheck(
            what=what,
            lr_size=(0, 0),
            scale=None,
            difference=apart,
            tolerance=tolerance,
            rerouted_px=rerouted,
            pixels=pixels,
        )
    decibels = psnr_db(found.image[where], expected.image[where]) if where.any() else 200.0
    finite = decibels if np.isfinite(found.image).all() else 0.0
    return VectorCheck(what, apart, finite, LEAST_DB[precision], rerouted, pixels)
