"""Draws what an evaluation found: quality against time and against work, each point named."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcsr.atomic import atomic_file
from pcsr.runtime.profiler.measuring.statistics import grouped

from .report import EvaluationReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = dict[str, list[tuple[float, float, str]]]
_MARKS: dict[str, dict[str, Any]] = {
    "k": {"marker": "o", "linestyle": "-", "color": "C0"},
    "heavy": {"marker": "^", "linestyle": "-", "color": "C1"},
    "budget": {"marker": "v", "linestyle": "-", "color": "C4"},
    "adaptive": {"marker": "*", "linestyle": "", "color": "C2", "markersize": 12},
    "preset": {"marker": "D", "linestyle": "", "color": "C3", "markersize": 9},
    "plain": {"marker": "s", "linestyle": "", "color": "black"},
}
_PER_SEGMENT = 12
_PLACING_ROUNDS = 300  # and no limit of time: the same report gives the same picture


def draw_curve(report: EvaluationReport, path: Path, overwrite: bool = False) -> None:
    """Draws the mean RGB PSNR of each method against its cost: measured time, and paper GFLOPs.

    Modes of one kind are joined in the order of their cost; presets are marked by themselves;
    bicubic, which has no cost, is a level. Methods with an infinite mean are left out.

    Raises:
        OutputError: `path` exists and `overwrite` is off, or cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), dpi=150, layout="constrained")
    time, work = figure.subplots(1, 2, sharey=True)
    _draw_panel(time, _points(report, "time_ms"), "ms per image, measured in this run")
    _draw_panel(work, _points(report, "paper_gflops"), "GFLOPs per image, paper's convention")
    time.set_ylabel("PSNR RGB, dB")
    figure.suptitle(f"{Path(report.bundle).name}, x{report.scale:g}")
    if time.has_data():
        figure.legend(*time.get_legend_handles_labels(), loc="outside lower center", ncols=7)
    figure.draw_without_rendering()  # gives the panels their final size, which labels go by
    for axes in (time, work):
        _place_labels(axes)
    with atomic_file(path, overwrite) as temporary:
        figure.savefig(temporary)


def _draw_panel(axes: "Axes", by_kind: Points, label: str) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.5, foreground="white")]
    for kind in [kind for kind in by_kind if kind != "bicubic"]:
        cost, psnr_db, names = zip(*by_kind[kind], strict=True)
        colour = _MARKS[kind]["color"]
        axes.plot(cost, psnr_db, label=kind, **_MARKS[kind])
        for x, y, name in zip(cost, psnr_db, names, strict=True):
            axes.text(x, y, name, fontsize=8, color=colour, path_effects=halo, zorder=5)
    axes.set_xlabel(label)
    axes.margins(0.18, 0.18)
    axes.grid(alpha=0.3)
    for _, level, name in by_kind.get("bicubic", []):
        limits = axes.get_ylim()  # mostly it lies far below, and would press the others together
        axes.axhline(level, color="grey", linestyle="--", label=f"{name}: {level:.2f} dB")
        axes.set_ylim(limits)


def _place_labels(axes: "Axes") -> None:
    """Moves the labels away from each other and from the points, to which lines lead back."""
    from adjustText import adjust_text

    if not axes.texts:
        return
    styles = {line: line.get_linestyle() for line in axes.lines}
    covered = np.concatenate(
        [
            _along(np.asarray(line.get_xydata()), style == "-")
            for line, style in styles.items()
            if style != "--"
        ]
    )
    adjust_text(
        list(axes.texts),
        *covered.T,
        ax=axes,
        expand=(1.3, 1.7),
        iter_lim=_PLACING_ROUNDS,
        arrowprops={"arrowstyle": "-", "color": "grey", "linewidth": 0.6},
    )


def _along(points: np.ndarray, are_joined: bool) -> np.ndarray:
    """Gives points [n,2], and more between them where a line joins them."""
    if not are_joined:
        return points
    places = np.linspace(0, len(points) - 1, _PER_SEGMENT * (len(points) - 1) + 1)
    columns = [np.interp(places, np.arange(len(points)), column) for column in points.T]
    return np.stack(columns, axis=-1)


def _points(report: EvaluationReport, cost: str) -> Points:
    """Lists (cost, PSNR, name) of methods with a finite PSNR, by kind, in the order of cost."""
    points = [
        (getattr(mean, cost) or 0.0, mean.psnr_rgb_db, mean.method)
        for mean in report.means
        if math.isfinite(mean.psnr_rgb_db)
    ]
    by_kind = grouped(points, lambda point: point[2].partition("=")[0])
    return {kind: sorted(some) for kind, some in by_kind.items()}
