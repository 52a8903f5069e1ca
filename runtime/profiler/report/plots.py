"""The plots of the report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pcsr.runtime.profiler.measuring.statistics import grouped
from pcsr.runtime.profiler.record import Case

from .svg import INK, PAGE, WIDTH_INCHES, Drawing, to_drawing
from .words import clean, family, network, number, place, series, speed, title

_NAME_LETTERS = 31
_SMALLEST_LABELLED = 0.055  # of the axis: a segment that holds its number
_RUN_POINTS = 150
_CALLS = "#7d8ca3"


class StageMark(NamedTuple):
    """Describes how a stage is marked. colour, ink: "#rrggbb" of its bars and of the number on
    them.
    """

    number: str
    colour: str
    ink: str


def stage_marks(cases: Sequence[Case]) -> dict[str, StageMark]:
    """Marks each stage by its name. Luminance rises from the first to the last, so that their order
    can be told without seeing the hues.
    """
    names = dict.fromkeys(stage.name for case in cases for stage in case.stages)
    colours = colormaps["viridis"](np.linspace(0.1, 1, len(names)))[:, :3]
    lights = colours**2.2 @ (0.2126, 0.7152, 0.0722)
    return {
        name: StageMark(str(i), to_hex(colour), "#000000" if light > 0.18 else "#ffffff")
        for i, (name, colour, light) in enumerate(zip(names, colours, lights, strict=True), 1)
    }


def draw_stages(cases: Sequence[Case], marks: Mapping[str, StageMark]) -> Iterator[Drawing]:
    """Draws where the time goes: a plot per picture and size, with a bar of stages per case."""
    for where, some in grouped(cases, place).items():
        yield _draw_stages(where, some, marks)


def draw_comparisons(cases: Sequence[Case]) -> Iterator[Drawing]:
    """Draws ratios to the baseline, latency against size, and quality against latency, each where
    it is known.
    """
    rivals = [case for case in cases if case.over_baseline and not case.is_baseline]
    for where, some in grouped(rivals, place).items():
        yield _draw_ratios(where, some)
    if len({case.lr_size for case in cases}) > 1:
        yield _draw_sizes(cases)
    scored = [case for case in cases if case.psnr_db is not None]
    for where, some in grouped(scored, place).items():
        yield _draw_quality(where, sorted(some, key=lambda case: case.host_ms.p50))


def draw_latency(case: Case) -> Drawing:
    """Draws how the calls of one case spread, and how they went over the run."""
    figure = Figure(figsize=(WIDTH_INCHES, 4.0), layout="constrained")
    above, below = figure.subplots(2, 1)
    _draw_histogram(above, case)
    _draw_run(below, np.array(case.times_ms), case.host_ms.p50)
    figure.legend(loc="outside upper left", ncols=3, handlelength=1.5, columnspacing=1.0)
    host = case.host_ms
    fact = (
        f"{host.samples} calls of {number(host.least)} to {number(host.most)} ms, "
        f"p50 {number(host.p50)}, p90 {number(host.p90)}, p99 {number(host.p99)} ms"
    )
    kind = "Latency distribution and run"
    return to_drawing(figure, "Latency of the calls", kind, {title(case): fact})


def _draw_stages(where: str, cases: Sequence[Case], marks: Mapping[str, StageMark]) -> Drawing:
    times = [[*(s.ms for s in case.stages), max(case.unaccounted_ms, 0.0)] for case in cases]
    whole = max(*map(sum, times), *(case.host_ms.mean for case in cases))
    figure, axes = _bars(len(cases), whole, "ms per call, mean")
    facts = {}
    for row, (case, widths) in enumerate(zip(cases, times, strict=True)):
        starts = np.cumsum([0.0, *widths[:-1]])
        colours = [*(marks[stage.name].colour for stage in case.stages), "none"]
        axes.barh(row, widths, 0.44, starts, color=colours, edgecolor=INK, linewidth=0.6)
        for stage, start in zip(case.stages, starts, strict=False):
            if stage.ms > _SMALLEST_LABELLED * whole:
                label, _, ink = marks[stage.name]
                middle = start + stage.ms / 2
                axes.text(middle, row, label, ha="center", va="center_baseline", color=ink)
        _caption(axes, row, f"{_short(series(case))}: {number(sum(widths))} ms")
        parts = {s.name: s.ms for s in case.stages} | {"unaccounted": case.unaccounted_ms}
        facts[title(case)] = ", ".join(f"{name} {number(ms)} ms" for name, ms in parts.items())
    return to_drawing(figure, where, "Stage bars", facts)


def _draw_ratios(where: str, cases: Sequence[Case]) -> Drawing:
    speeds = [speed(case) or 1.0 for case in cases]
    label = "times as fast as the baseline (dashed)"
    figure, axes = _bars(len(cases), max(1.0, *speeds), label)
    axes.axvline(1, color=INK, linewidth=1.2, linestyle="--", zorder=0.9)
    axes.barh(range(len(cases)), speeds, 0.44, color="#51627d", edgecolor=INK, linewidth=0.8)
    for row, (case, ratio) in enumerate(zip(cases, speeds, strict=True)):
        _caption(axes, row, f"{_short(series(case))}: {number(ratio)}")
    facts = {title(case): number(ratio) for case, ratio in zip(cases, speeds, strict=True)}
    kind = "Times as fast as the baseline"
    return to_drawing(figure, f"Against the baseline, {where}", kind, facts)


def _bars(rows: int, longest: float, label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, 0.7 + 0.56 * rows), layout="constrained")
    axes = figure.subplots()
    axes.set(yticks=[], ylim=(rows - 0.6, -0.85), xlim=(0, 1.02 * longest), xlabel=label)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    _few_ticks(axes)
    return figure, axes


def _caption(axes: Axes, row: int, text: str) -> None:
    """Writes over the bar of a row, and hides the lines behind."""
    paper = {"facecolor": PAGE, "edgecolor": "none", "pad": 0.8}
    axes.text(0, row - 0.32, text, va="bottom", bbox=paper)


def _draw_sizes(cases: Sequence[Case]) -> Drawing:
    lines = {
        label: sorted((_megapixels(case), case.host_ms.p50) for case in some)
        for label, some in grouped(cases, family).items()
    }
    figure, axes = _lines(lines, "output megapixels", "ms, median")
    pixels = [_megapixels(case) for case in cases]
    if max(pixels) > 20 * min(pixels):
        axes.loglog()
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,g}")
            axis.set_minor_formatter("")
    else:
        axes.set(xlim=(0, 1.04 * max(pixels)), ylim=(0, 1.05 * max(c.host_ms.p50 for c in cases)))
        _few_ticks(axes)
    facts = {
        label: ", ".join(f"{number(ms)} ms at {number(mp)}" for mp, ms in points) + " megapixels"
        for label, points in lines.items()
    }
    return to_drawing(figure, "Latency against size", "Latency against size", facts)


def _megapixels(case: Case) -> float:
    return case.hr_size[0] * case.hr_size[1] / 1e6


def _draw_quality(where: str, cases: Sequence[Case]) -> Drawing:
    """Numbers the cases as given, and joins the modes of a network."""
    lines = {label: list(map(_point, some)) for label, some in grouped(cases, network).items()}
    figure, axes = _lines(lines, "ms, median", "PSNR, dB")
    for count, case in enumerate(cases, 1):
        axes.annotate(str(count), _point(case), (0, 6), textcoords="offset points", ha="center")
    axes.margins(0.1, 0.15)
    axes.set_xlim(left=0)
    _few_ticks(axes)
    facts = {series(c): f"{c.psnr_db:.2f} dB in {number(c.host_ms.p50)} ms" for c in cases}
    caption = f"Quality against latency, {where}"
    return to_drawing(figure, caption, caption, facts, numbered=True)


def _point(case: Case) -> tuple[float, float]:
    return case.host_ms.p50, float("nan") if case.psnr_db is None else case.psnr_db


def _lines(
    lines: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str
) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, 3.0 + 0.22 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for label, points in lines.items():
        axes.plot(*zip(*points, strict=True), label=_short(label))
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid()
    figure.legend(loc="outside upper left")
    return figure, axes


def _draw_histogram(axes: Axes, case: Case) -> None:
    times, host = np.array(case.times_ms), case.host_ms
    last = max(1.15 * host.p99 - 0.15 * host.least, host.least * 1.001)
    bins = int(np.clip(np.sqrt(len(times)) * 2, 8, 60))
    shown = np.minimum(times, last)  # what lies beyond is in the last bin
    axes.hist(shown, bins, color=_CALLS, edgecolor=PAGE, linewidth=0.4)
    for at, name, line in ((host.p50, "p50", "-"), (host.p90, "p90", "--"), (host.p99, "p99", ":")):
        label = f"{name} {number(at)}"
        axes.axvline(at, color=INK, linestyle=line, linewidth=1.3, label=label)
    beyond = int((times > last).sum())
    more = f" ({beyond} longer ones in the last bin)" if beyond else ""
    axes.set(xlabel=f"ms per call{more}", ylabel="calls")
    _few_ticks(axes)


def _draw_run(axes: Axes, times: np.ndarray, median: float) -> None:
    few = len(times) <= _RUN_POINTS
    parts = np.array_split(times, min(len(times), _RUN_POINTS))
    ends = np.cumsum([len(part) for part in parts])
    low, middle, high = np.transpose([np.percentile(part, (5, 50, 95)) for part in parts])
    axes.fill_between(ends, low, high, color=_CALLS, alpha=0.5, linewidth=0)
    axes.plot(ends, middle, "." if few else "-", color=_CALLS if few else INK, linewidth=1)
    axes.axhline(median, color=INK, linewidth=0.8, linestyle="--")
    label = "call" if few else "call (median, 5 to 95 % of neighbours)"
    axes.set(xlabel=label, ylabel="ms")
    axes.grid(axis="y")
    _few_ticks(axes)


def _few_ticks(axes: Axes) -> None:
    """Sets as many as fit beside each other on a phone."""
    axes.locator_params("x", nbins=5, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_formatter("{x:,g}")


def _short(name: str) -> str:
    """Keeps the start and the end of a name that is too long for the width of a phone."""
    name = clean(name)
    if len(name) <= _NAME_LETTERS:
        return name
    return f"{name[:18]}\N{HORIZONTAL ELLIPSIS}{name[-12:]}"
