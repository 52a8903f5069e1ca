"""Compares a candidate graph with the fp32 graph, image by image."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

import numpy as np

from pcsr.calibration.images import finite_psnr_db
from pcsr.metrics import Pixels
from pcsr.runtime.result import Result

from .calibration_images import CalibrationImage


@dataclass(frozen=True)
class ImageFigures:
    """Says how a candidate did on one image. PSNR in dB is of RGB within the border, that of the
    fp32 result and of the candidate against the original, or None where there is none.
    """

    image: str
    psnr_fp32_db: float | None
    psnr_db: float | None
    fidelity_db: float
    """Of one result against the other."""
    error: float
    """Mean squared difference of the two results, in units of 8 bit."""
    routing_agreement: float
    """Share of the pixels that the same upsampler computed."""

    @property
    def psnr_loss_db(self) -> float | None:
        """The loss is positive where the candidate is worse."""
        if self.psnr_fp32_db is None or self.psnr_db is None:
            return None
        return self.psnr_fp32_db - self.psnr_db


@dataclass(frozen=True)
class QualityBound:
    """Bounds the mean over the images: the loss against originals, or else the fidelity."""

    max_psnr_loss_db: float
    min_fidelity_db: float

    def holds(self, figures: Sequence[ImageFigures]) -> bool:
        loss = mean_figures(figures)["psnr_loss_db"]
        if loss is None:
            return fmean(f.fidelity_db for f in figures) >= self.min_fidelity_db
        return loss <= self.max_psnr_loss_db


class ImagePipeline(Protocol):
    """Upscales images in fp32 and in other ways."""

    def run(self, lr: Pixels, graph: Any = None) -> Result:  # noqa: ANN401
        """Upscales an image. graph: names the way; None is fp32."""


class QualityComparison:
    """Compares candidates with the fp32 graph on one list of images, and keeps its results."""

    def __init__(
        self, pipeline: ImagePipeline, samples: Sequence[CalibrationImage], border: int
    ) -> None:
        self._pipeline, self.samples, self._border = pipeline, samples, border
        self._references: list[Result] = []

    def figures(self, graph: Any) -> list[ImageFigures]:  # noqa: ANN401
        """Returns the figures of each image. graph: a session of the candidate."""
        if not self._references:
            self._references = [self._pipeline.run(sample.lr) for sample in self.samples]
        pairs = zip(self.samples, self._references, strict=True)
        return [self._one(sample, reference, graph) for sample, reference in pairs]

    def _one(self, sample: CalibrationImage, reference: Result, graph: Any) -> ImageFigures:  # noqa: ANN401
        found = self._pipeline.run(sample.lr, graph)
        difference = found.image.astype(np.float64) - reference.image
        return ImageFigures(
            sample.path,
            self._psnr(reference.image, sample.hr),
            self._psnr(found.image, sample.hr),
            finite_psnr_db(found.image, reference.image, self._border),
            float((difference**2).mean()),
            float(np.mean(found.assignment == reference.assignment)),
        )

    def _psnr(self, image: Pixels, original: Pixels | None) -> float | None:
        return None if original is None else finite_psnr_db(image, original, self._border)


def mean_figures(figures: Sequence[ImageFigures]) -> dict[str, float | None]:
    """Takes plain means over the images; None where an image has no such figure."""
    names = ("psnr_fp32_db", "psnr_db", "psnr_loss_db", "fidelity_db", "error", "routing_agreement")
    means: dict[str, float | None] = {}
    for name in names:
        values = [getattr(f, name) for f in figures]
        means[name] = None if None in values else fmean(values)
    return means
