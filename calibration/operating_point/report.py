"""Reports what a calibration found, as a table and a curve."""

import math
from pathlib import Path

from tabulate import tabulate

from pcsr.calibration.evaluation.curve import draw_curve
from pcsr.calibration.evaluation.report import EvaluationReport, Score
from pcsr.calibration.images import MOST_PSNR_DB
from pcsr.runtime.routing.operating_point import Point
from pcsr.runtime.routing.request import LARGEST_K

from .calibration import OperatingPointReport

BUSY_SPREAD = 1.15
BUSY = "the machine was busy, and budgets leave room for that; calibrate again when it is idle"
_HEADERS = ("", "k", "difficulty", "heavy %", "loss dB", "worst dB", "PSNR dB", "ms")


def format_table(found: OperatingPointReport) -> str:
    """Formats the presets, their times at the first image's size, and the model's errors."""
    by_k = [point for point in found.points if point.k is not None]
    rows = {"all heavy": by_k[0], **found.presets, "all light": by_k[-1]}
    table = tabulate(
        [_row(found, name, point) for name, point in rows.items()],
        _HEADERS,
        floatfmt=("", ".4g", ".4f", ".1f", ".3f", ".3f", ".2f", ".1f"),
        missingval="-",
    )
    height, width = found.lr_size
    lines = [f"{width}x{height} at scale {found.scale:g}; ms: a call with as many heavy pixels"]
    for fit in found.fits:
        lines.append(
            f"{fit.model.key}: time foreseen to {fit.median_error:.1%} (worst "
            f"{fit.worst_error:.1%}) in calls left out of the fit; one call in ten takes "
            f"{fit.spread:.2f} times the usual"
        )
        if fit.spread > BUSY_SPREAD:
            lines.append(BUSY)
    return "\n".join((table, *lines))


def draw(found: OperatingPointReport, path: Path, overwrite: bool) -> None:
    """Draws PSNR against the foreseen time and the paper's GFLOPs, as pcsr-evaluate does.

    Raises:
        OutputError: `path` exists and `overwrite` is off, or cannot be written.
    """
    scores = tuple(_score(found, point) for point in found.points)
    report = EvaluationReport(str(found.upscaler.bundle.path), found.scale, 0, scores, (), ())
    draw_curve(report, path, overwrite)


def _row(found: OperatingPointReport, name: str, point: Point) -> tuple[object, ...]:
    k = None if abs(point.k or 0.0) == LARGEST_K else point.k
    measured = (100 * point.heavy_share, point.loss_db, point.worst_loss_db, point.psnr_db)
    return (name, k, point.difficulty, *measured, _time_ms(found, point))


def _time_ms(found: OperatingPointReport, point: Point) -> float:
    work = found.upscaler.work(found.lr_size, found.scale)
    return found.fits[0].model.usual_ms(work, point.heavy_share)


def _score(found: OperatingPointReport, point: Point) -> Score:
    costs = found.upscaler.bundle.manifest.costs
    hr_size = tuple(round(side * found.scale) for side in found.lr_size)
    heavy = point.heavy_share * math.prod(hr_size)
    counts = [heavy, *[0] * (len(costs.upsampler_flops) - 2), math.prod(hr_size) - heavy]
    flops = costs.paper_flops(found.lr_size, (hr_size[0], hr_size[1]), counts)  # type: ignore[arg-type]
    psnr_db = math.inf if point.psnr_db >= MOST_PSNR_DB else point.psnr_db
    figures = (psnr_db, math.nan, math.nan, math.nan, 100 * point.heavy_share, flops / 1e9)
    return Score("mean", _label(point), *figures, time_ms=_time_ms(found, point))


def _label(point: Point) -> str:
    if point.k is None:
        return f"heavy={point.heavy_ratio:g}"
    ends = {-LARGEST_K: "k=-inf", LARGEST_K: "k=inf"}
    return ends.get(point.k, f"k={point.k:.3g}")
