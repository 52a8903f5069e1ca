"""What a candidate graph costs in quality, image by image, against the fp32 graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from pcsr.metrics import Pixels, psnr

from .crops import Sample
from .trial import Outcome, Trial

MOST_DB = 100.0
"""In place of infinity, for identical images."""


@dataclass(frozen=True)
class Figures:
    """One image. PSNR in dB of RGB within the border: of the fp32 result and of the candidate's
    against the original (None where there is none), and of one result against the other. error:
    mean squared difference of the two results in units of 8 bit. routing_agreement: share of the
    pixels that the same upsampler computed.
    """

    image: str
    psnr_fp32_db: float | None
    psnr_db: float | None
    fidelity_db: float
    error: float
    routing_agreement: float

    @property
    def psnr_loss_db(self) -> float | None:
        """Positive where the candidate is worse."""
        if self.psnr_fp32_db is None or self.psnr_db is None:
            return None
        return self.psnr_fp32_db - self.psnr_db


@dataclass(frozen=True)
class Bound:
    """What the mean over the images must keep: a loss against originals, or else a fidelity."""

    max_psnr_loss_db: float
    min_fidelity_db: float

    def holds(self, figures: Sequence[Figures]) -> bool:
        loss = mean_loss_db(figures)
        if loss is None:
            return fmean(f.fidelity_db for f in figures) >= self.min_fidelity_db
        return loss <= self.max_psnr_loss_db


class Judge:
    """Compares candidates with the fp32 graph on one list of images. References are kept."""

    def __init__(self, trial: Trial, samples: Sequence[Sample], border: int) -> None:
        self._trial, self.samples, self._border = trial, samples, border
        self._references: list[Outcome] = []

    def figures(self, graph: Any) -> list[Figures]:  # noqa: ANN401
        """One for each image. graph: a session of the candidate."""
        if not self._references:
            self._references = [self._trial.run(sample.lr) for sample in self.samples]
        pairs = zip(self.samples, self._references, strict=True)
        return [self._one(sample, reference, graph) for sample, reference in pairs]

    def _one(self, sample: Sample, reference: Outcome, graph: Any) -> Figures:  # noqa: ANN401
        found = self._trial.run(sample.lr, graph)
        difference = found.image.astype(np.float64) - reference.image
        return Figures(
            sample.path,
            self._psnr(reference.image, sample.hr),
            self._psnr(found.image, sample.hr),
            min(psnr(found.image, reference.image, self._border), MOST_DB),
            float((difference**2).mean()),
            float((found.assignment == reference.assignment).mean()),
        )

    def _psnr(self, image: Pixels, original: Pixels | None) -> float | None:
        return None if original is None else min(psnr(image, original, self._border), MOST_DB)


def mean_loss_db(figures: Sequence[Figures]) -> float | None:
    """Mean loss of PSNR; None where the originals are not known."""
    losses = [f.psnr_loss_db for f in figures]
    known = [loss for loss in losses if loss is not None]
    return fmean(known) if known else None


def mean_error(figures: Sequence[Figures]) -> float:
    """Mean squared difference from the fp32 results."""
    return fmean(f.error for f in figures)
