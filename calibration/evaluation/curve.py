"""Draws what an evaluation found: quality against time and against work, each point named."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcsr.atomic import atomic_file
from pcsr.runtime.profiler.measuring.statistics import grouped

from .report import EvaluationReport, Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS: dict[str, dict[str, Any]] = {
    "k": {"marker": "o", "linestyle": "-", "color": "C0"},
    "heavy": {"marker": "^", "linestyle": "-", "color": "C1"},
    "budget": {"marker": "v", "linestyle": "-", "color": "C4"},
    "adaptive": {"marker": "*", "linestyle": "", "color": "C2", "markersize": 12},
    "preset": {"marker": "D", "linestyle": "", "color": "C3", "markersize": 9},
    "plain": {"marker": "s", "linestyle": "", "color": "black"},
}
_COLOURS = ("C0", "C1", "C2", "C3", "C4", "C5", "C6", "C8", "C9", "black")
_MOST_LABELS = 16
_LEGEND_COLUMNS = 7
_LEGEND_CHARACTERS = 140  # in a row, of which a mark takes six
_PER_SEGMENT = 12
_MOST_COVERED = 200  # points that labels keep off: placing takes as long as they are many
_PLACING_ROUNDS = 300  # and no limit of time: the same report gives the same picture


@dataclass(frozen=True)
class _Series:
    """The points of one kind of methods, of one network under one protocol."""

    kind: str
    group: str
    """The network, protocol and refinement, those of which there are several."""
    points: Sequence[tuple[float, float, str]]
    """(cost, PSNR, name) in the order of work."""

    @property
    def is_joined(self) -> bool:
        return bool(_MARKS[self.kind]["linestyle"])

    def named(self, every: int) -> list[tuple[float, float, str]]:
        """Lists the points to name: where not all are, those of a line in equal steps and its ends,
        and what the legend does not tell.
        """
        if every == 1 or self.kind == "preset":
            return list(self.points)
        return [*self.points[:-1:every], self.points[-1]] if self.is_joined else []


def draw_curve(report: EvaluationReport, path: Path, overwrite: bool = False) -> None:
    """Draws the mean RGB PSNR of each method against its cost: measured time, and paper GFLOPs.

    Modes of one kind are joined in the order of their work, those of each network, protocol and
    refinement by themselves, in a colour of their own; presets are marked by themselves; bicubic,
    which has no cost, is a level. Methods with an infinite mean are left out.

    Raises:
        OutputError: `path` exists and `overwrite` is off, or cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), dpi=150, layout="constrained")
    time, work = figure.subplots(1, 2, sharey=True)
    levels = [mean for mean in _finite(report) if mean.kind == "bicubic"]
    for axes, cost, label in (
        (time, "time_ms", "ms per image, measured in this run"),
        (work, "paper_gflops", "GFLOPs per image, paper's convention"),
    ):
        _draw_panel(axes, _series(report, cost), levels)
        axes.set_xlabel(label)
    time.set_ylabel("PSNR RGB, dB")
    figure.suptitle(f"{Path(report.bundle).name}, x{report.scale:g}")
    if time.has_data():
        handles = _legend(_series(report, "time_ms"), time)
        widest = max(len(str(handle.get_label())) for handle in handles)
        columns = max(1, min(_LEGEND_COLUMNS, _LEGEND_CHARACTERS // (widest + 6)))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    figure.draw_without_rendering()  # gives the panels their final size, which labels go by
    for axes in (time, work):
        _place_labels(axes)
    with atomic_file(path, overwrite) as temporary:
        figure.savefig(temporary)


def _draw_panel(axes: "Axes", series: Sequence[_Series], levels: Sequence[Score]) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.5, foreground="white")]
    every = _steps(series)
    for each, style in zip(series, _styles(series), strict=True):
        cost, psnr_db, _ = zip(*each.points, strict=True)
        axes.plot(cost, psnr_db, label=each.kind, **style)
        for x, y, name in each.named(every):
            colour = style["color"]
            axes.text(x, y, name, fontsize=8, color=colour, path_effects=halo, zorder=5)
    axes.margins(0.18, 0.18)
    axes.grid(alpha=0.3)
    for level in levels:
        limits = axes.get_ylim()  # mostly it lies far below, and would press the others together
        name = level.method if len(levels) == 1 else f"{level.method}, {level.protocol}"
        label = f"{name}: {level.psnr_rgb_db:.2f} dB"
        axes.axhline(level.psnr_rgb_db, color="grey", linestyle="--", label=label)
        axes.set_ylim(limits)


def _steps(series: Sequence[_Series]) -> int:
    """Tells how far the points lie apart that lines name, so that names stay few."""
    if sum(len(each.points) for each in series) <= _MOST_LABELS:
        return 1
    lines = [len(each.points) for each in series if each.is_joined]
    each = max(1, _MOST_LABELS // max(1, len(lines)) - 1)
    return max(2, math.ceil((max(lines, default=1) - 1) / each))


def _styles(series: Sequence[_Series]) -> list[dict[str, Any]]:
    """Gives each its mark, by kind, and its colour: by group where there are several."""
    colours = _colours(series)
    own = ({"color": colours[each.group]} if each.group in colours else {} for each in series)
    return [_MARKS[each.kind] | colour for each, colour in zip(series, own, strict=True)]


def _colours(series: Sequence[_Series]) -> dict[str, Any]:
    """Gives each group with a name a colour; none where there is but one."""
    from matplotlib import colormaps

    groups = list(dict.fromkeys(each.group for each in series if each.group))
    if len(groups) < 2:
        return {}
    if len(groups) <= len(_COLOURS):
        return dict(zip(groups, _COLOURS, strict=False))
    return dict(zip(groups, colormaps["turbo"](np.linspace(0, 1, len(groups))), strict=True))


def _legend(series: Sequence[_Series], axes: "Axes") -> list[Any]:
    """Lists what a legend shows: the kinds and, where there are several, the groups."""
    from matplotlib.lines import Line2D

    colours = _colours(series)
    if not colours:
        return list(axes.get_legend_handles_labels()[0])
    kinds = dict.fromkeys(each.kind for each in series)
    levels = [line for line in axes.lines if line.get_linestyle() == "--"]
    return [
        *(
            Line2D([], [], color=colour, linewidth=4, label=group)
            for group, colour in colours.items()
        ),
        *(Line2D([], [], **_MARKS[kind] | {"color": "dimgrey"}, label=kind) for kind in kinds),
        *levels,
    ]


def _place_labels(axes: "Axes") -> None:
    """Moves the labels away from each other and from the points, to which lines lead back."""
    from adjustText import adjust_text

    if not axes.texts:
        return
    lines = [line for line in axes.lines if line.get_linestyle() != "--"]
    segments = sum(len(np.asarray(line.get_xdata())) for line in lines)
    covered = np.concatenate(
        [
            _along(
                np.asarray(line.get_xydata()),
                min(_PER_SEGMENT, _MOST_COVERED // segments) if line.get_linestyle() == "-" else 0,
            )
            for line in lines
        ]
    )
    covered = covered[:: math.ceil(len(covered) / _MOST_COVERED)]
    adjust_text(
        list(axes.texts),
        *covered.T,
        ax=axes,
        expand=(1.3, 1.7),
        iter_lim=_PLACING_ROUNDS,
        arrowprops={"arrowstyle": "-", "color": "grey", "linewidth": 0.6},
    )


def _along(points: np.ndarray, per_segment: int) -> np.ndarray:
    """Gives points [n,2], and more between them where a line joins them."""
    if per_segment < 2:
        return points
    places = np.linspace(0, len(points) - 1, per_segment * (len(points) - 1) + 1)
    columns = [np.interp(places, np.arange(len(points)), column) for column in points.T]
    return np.stack(columns, axis=-1)


def _finite(report: EvaluationReport) -> list[Score]:
    return [mean for mean in report.means if math.isfinite(mean.psnr_rgb_db)]


def _series(report: EvaluationReport, cost: str) -> list[_Series]:
    """Lists what has a cost and a finite PSNR, by kind and group."""
    means = [mean for mean in _finite(report) if mean.kind != "bicubic"]
    by_series = grouped(means, lambda mean: (mean.kind, _group(mean, report)))
    return [_Series(*key, _points(found, cost)) for key, found in by_series.items()]


def _points(means: Iterable[Score], cost: str) -> list[tuple[float, float, str]]:
    means = sorted(means, key=lambda mean: mean.paper_gflops or 0.0)
    return [(getattr(m, cost) or 0.0, m.psnr_rgb_db, m.method.partition(" ")[0]) for m in means]


def _group(mean: Score, report: EvaluationReport) -> str:
    parts = (
        mean.network if report.compares_networks else "",
        mean.protocol if len(report.protocols) > 1 else "",
        mean.refinement,
    )
    return ", ".join(part for part in parts if part)
