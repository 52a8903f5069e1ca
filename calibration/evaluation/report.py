"""Reports what an evaluation found: scores and their means as a table and as JSON."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import SEPARATING_LINE, tabulate

from pcsr.runtime.profiler.measuring.statistics import grouped

_COLUMNS = {
    "image": "",
    "method": "",
    "PSNR RGB": ".3f",
    "PSNR Y": ".3f",
    "SSIM RGB": ".4f",
    "SSIM Y": ".4f",
    "heavy %": ".1f",
    "paper GFLOPs": ".3f",
    "real GMACs": ".3f",
    "time ms": ".1f",
}


@dataclass(frozen=True)
class Score:
    """Says how one method did on one image, or in the mean; a figure that it lacks is None."""

    image: str
    method: str
    psnr_rgb_db: float
    """Infinite for identical images."""
    psnr_y_db: float
    ssim_rgb: float
    """At most 1; nan below 11 px."""
    ssim_y: float
    heavy_percent: float | None = None
    paper_gflops: float | None = None
    """As the paper counts them."""
    gmacs: float | None = None
    """As the exported graphs execute them."""
    time_ms: float | None = None


@dataclass(frozen=True)
class EvaluationReport:
    """Holds scores in the order of images and methods."""

    bundle: str
    scale: float
    border: int
    scores: tuple[Score, ...]
    failures: tuple[str, ...]
    """A line per image that could not be evaluated."""
    notes: tuple[str, ...]
    """A line per image whose alpha was left out."""

    @property
    def means(self) -> tuple[Score, ...]:
        """Takes the plain mean of each method over the images; none where no image was scored."""
        return tuple(map(_mean, grouped(self.scores, lambda score: score.method).values()))

    def to_json(self) -> str:
        """Writes all fields and `means`. No figure and nan are null, infinity is "inf"."""
        report = vars(self) | {
            "scores": [_json_figures(score) for score in self.scores],
            "means": [_json_figures(mean) for mean in self.means],
        }
        return json.dumps(report, indent=2, allow_nan=False) + "\n"


def format_table(report: EvaluationReport) -> str:
    """Formats a row per image and method, then the means, for a terminal."""
    rows = [*map(_row, report.scores), SEPARATING_LINE, *map(_row, report.means)]
    return tabulate(
        rows,
        list(_COLUMNS),
        floatfmt=tuple(_COLUMNS.values()),
        missingval="-",
        colalign=("left", "left", *["right"] * (len(_COLUMNS) - 2)),
    )


def _row(score: Score) -> list[Any]:
    image, *figures = vars(score).values()
    return [Path(image).name, *figures]


def _mean(scores: Sequence[Score]) -> Score:
    figures: dict[str, Any] = {}
    for figure in fields(Score)[2:]:
        values = [getattr(score, figure.name) for score in scores]
        figures[figure.name] = None if None in values else float(np.mean(values))
    return Score("mean", scores[0].method, **figures)


def _json_figures(score: Score) -> dict[str, Any]:
    figures = asdict(score)
    for name, value in figures.items():
        if isinstance(value, float) and not math.isfinite(value):
            figures[name] = None if math.isnan(value) else "inf"
    return figures
