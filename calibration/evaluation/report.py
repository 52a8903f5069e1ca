"""Reports what an evaluation found: scores and their means as a table, JSON and a curve."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tabulate import SEPARATING_LINE, tabulate

from pcsr.atomic import atomic_file
from pcsr.runtime.profiler.measuring.statistics import grouped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = dict[str, list[tuple[float, float, str]]]
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
_MARKS: dict[str, dict[str, Any]] = {
    "k": {"marker": "o", "linestyle": "-"},
    "heavy": {"marker": "^", "linestyle": "-"},
    "adaptive": {"marker": "*", "linestyle": "", "markersize": 12},
    "plain": {"marker": "s", "linestyle": "", "color": "black"},
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


def draw_curve(report: EvaluationReport, path: Path, overwrite: bool = False) -> None:
    """Draws the mean RGB PSNR of each method against its cost: measured time, and paper GFLOPs.

    Modes of one kind are joined in the order of their cost; bicubic, which has none, is a level.
    Methods with an infinite mean are left out.

    Raises:
        OutputError: `path` exists and `overwrite` is off, or cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), dpi=150, layout="constrained")
    time, work = figure.subplots(1, 2, sharey=True)
    _draw_panel(time, _points(report, "time_ms"), "ms per image, measured in this run")
    _draw_panel(work, _points(report, "paper_gflops"), "GFLOPs per image, paper's convention")
    time.set_ylabel("PSNR RGB, dB")
    figure.suptitle(f"{Path(report.bundle).name}, x{report.scale:g}")
    if time.has_data():
        time.legend()
    with atomic_file(path, overwrite) as temporary:
        figure.savefig(temporary)


def _draw_panel(axes: "Axes", by_kind: Points, label: str) -> None:
    for kind, points in by_kind.items():
        cost, psnr_db, _ = zip(*points, strict=True)
        if kind == "bicubic":
            axes.axhline(psnr_db[0], color="grey", linestyle="--", label=kind)
            continue
        axes.plot(cost, psnr_db, label=kind, **_MARKS[kind])
        for x, y, name in points:
            offset = (6, -12) if kind == "k" else (6, 6)
            axes.annotate(name, (x, y), xytext=offset, textcoords="offset points")
    axes.set_xlabel(label)
    axes.margins(0.15, 0.12)
    axes.grid(alpha=0.3)


def _points(report: EvaluationReport, cost: str) -> Points:
    """Lists (cost, PSNR, name) of methods with a finite PSNR, by kind, in the order of cost."""
    points = [
        (getattr(mean, cost) or 0.0, mean.psnr_rgb_db, mean.method)
        for mean in report.means
        if math.isfinite(mean.psnr_rgb_db)
    ]
    by_kind = grouped(points, lambda point: point[2].partition("=")[0])
    return {kind: sorted(some) for kind, some in by_kind.items()}


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
