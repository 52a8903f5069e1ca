"""The plots of the report, by matplotlib."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .record import Case
from .report_html import Html, clean, ink_on
from .report_svg import INK, PAGE, figure, inline
from .report_words import figure as number
from .report_words import network, place, series, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME_LETTERS = 46
_SMALLEST_LABELLED = 0.055  # of the axis: a segment that holds its number
_RUN_POINTS = 150
# Of middling luminance, to stand out from white and from black; marks and dashes tell them apart
# without hue.
_LINES: tuple[dict[str, Any], ...] = (
    {"color": "#2878c8", "linestyle": "-", "marker": "o"},
    {"color": "#c8601e", "linestyle": "--", "marker": "s"},
    {"color": "#2a8a5a", "linestyle": "-.", "marker": "^"},
    {"color": "#8f62cf", "linestyle": ":", "marker": "D"},
    {"color": "#c4507f", "linestyle": "-", "marker": "x"},
    {"color": "#8a7a2a", "linestyle": "--", "marker": "v", "markerfacecolor": "none"},
    {"color": "#3a8f99", "linestyle": "-.", "marker": "+"},
    {"color": "#7d7d7d", "linestyle": ":", "marker": "*"},
)


def stage_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour per stage. Luminance rises from the first to the last, so that their order can be
    told without seeing the hues.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    positions = np.linspace(0.1, 1, len(names))
    return {n: to_hex(colormaps["viridis"](p)) for n, p in zip(names, positions, strict=True)}


def draw_stages(cases: Sequence[Case], colours: dict[str, str], name: str) -> Html:
    """A bar per case, cut into its stages, all of one size and on one scale."""
    drawn = figure(0.7 + 0.56 * len(cases))
    axes = drawn.subplots()
    whole = max(max(_stage_sum(case), case.host_ms.mean) for case in cases)
    numbers = {stage: str(i) for i, stage in enumerate(colours, 1)}
    for row, case in enumerate(cases):
        left = 0.0
        for stage in case.stages:
            label = numbers[stage.name] if stage.ms > _SMALLEST_LABELLED * whole else ""
            _segment(axes, row, left, stage.ms, colours[stage.name], label)
            left += stage.ms
        rest = max(case.unaccounted_ms, 0.0)
        axes.barh(row, rest, 0.44, left, facecolor="none", edgecolor=INK, linewidth=0.8)
        text = f"{_short(series(case))}: {number(left + rest)} ms"
        _caption(axes, row, text)
    _bare_rows(axes, len(cases), whole)
    axes.set_xlabel("ms per call, mean")
    return inline(drawn, name, _told_stages(cases))


def _segment(axes: "Axes", row: int, left: float, ms: float, colour: str, label: str) -> None:
    axes.barh(row, ms, 0.44, left, facecolor=colour, edgecolor=INK, linewidth=0.6)
    if label:
        middle = left + ms / 2
        axes.text(middle, row, label, ha="center", va="center_baseline", color=ink_on(colour))


def _stage_sum(case: Case) -> float:
    return sum(stage.ms for stage in case.stages) + max(case.unaccounted_ms, 0.0)


def _told_stages(cases: Sequence[Case]) -> str:
    told = []
    for case in cases:
        parts = ", ".join(f"{stage.name} {number(stage.ms)} ms" for stage in case.stages)
        told.append(f"{title(case)}: {parts}, unaccounted {number(case.unaccounted_ms)} ms")
    return "Stage bars. " + "; ".join(told)


def _caption(axes: "Axes", row: int, text: str) -> None:
    """Over the bar of a row, hiding the lines behind it."""
    paper = {"facecolor": PAGE, "edgecolor": "none", "pad": 0.8}
    axes.text(0, row - 0.32, text, va="bottom", bbox=paper)


def _bare_rows(axes: "Axes", rows: int, most: float) -> None:
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(rows - 0.6, -0.85)
    axes.set_xlim(0, 1.02 * most)
    _few_ticks(axes)
    axes.grid(axis="x")


def draw_latency(case: Case, name: str) -> Html:
    """How the calls of one case spread, and how they went over the run."""
    drawn = figure(4.0)
    above, below = drawn.subplots(2, 1)
    _draw_histogram(above, case)
    _draw_run(below, np.array(case.times_ms), case.host_ms.p50)
    host = case.host_ms
    told = (
        f"{title(case)}: {host.samples} calls of {number(host.least)} to {number(host.most)} ms, "
    )
    told += f"p50 {number(host.p50)}, p90 {number(host.p90)}, p99 {number(host.p99)} ms"
    return inline(drawn, name, f"Latency distribution and run. {told}")


def _draw_histogram(axes: "Axes", case: Case) -> None:
    times, host = np.array(case.times_ms), case.host_ms
    last = max(1.15 * host.p99 - 0.15 * host.least, host.least * 1.001)
    shown = np.minimum(times, last)  # what lies beyond is in the last bin
    bins = int(np.clip(np.sqrt(len(times)) * 2, 8, 60))
    counts, *_ = axes.hist(shown, bins, color="#7d8ca3", edgecolor=PAGE, linewidth=0.4)
    top = float(np.max(counts))
    marks = ((host.p50, "p50", "-"), (host.p90, "p90", "--"), (host.p99, "p99", ":"))
    for row, (at, label, line) in enumerate(marks):
        axes.axvline(at, color=INK, linestyle=line, linewidth=1.3, ymax=0.97 - 0.15 * row)
        offset, align = (-4, "right") if at > 0.3 * host.least + 0.7 * last else (4, "left")
        height = top * (1.56 - 0.25 * row)
        text = f"{label} {number(at)}"
        axes.annotate(text, (at, height), (offset, 0), textcoords="offset points", ha=align)
    axes.set_ylim(0, 1.75 * top)
    axes.set_ylabel("calls")
    _few_ticks(axes)
    beyond = int((times > last).sum())
    more = f" ({beyond} longer ones in the last bin)" if beyond else ""
    axes.set_xlabel(f"ms per call{more}")


def _draw_run(axes: "Axes", times: np.ndarray, median: float) -> None:
    few = len(times) <= _RUN_POINTS
    if few:
        axes.plot(np.arange(1, len(times) + 1), times, ".", color="#7d8ca3", markersize=5)
    else:
        parts = np.array_split(times, _RUN_POINTS)
        ends = np.cumsum([len(part) for part in parts])
        low, middle, high = (
            [np.percentile(part, share) for part in parts] for share in (5, 50, 95)
        )
        axes.fill_between(ends, low, high, color="#7d8ca3", alpha=0.5, linewidth=0)
        axes.plot(ends, middle, color=INK, linewidth=1)
    axes.axhline(median, color=INK, linewidth=0.8, linestyle="--")
    axes.set_xlabel("call" if few else "call (median, 5 to 95 % of neighbours)")
    axes.set_ylabel("ms")
    _few_ticks(axes)
    axes.grid(axis="y")


def draw_sizes(of_series: dict[str, list[Case]], name: str) -> Html:
    """Median time against output pixels, a line per bundle and mode."""
    drawn = figure(3.0 + 0.22 * len(of_series))
    axes = drawn.subplots()
    told = []
    for row, (label, cases) in enumerate(of_series.items()):
        points = sorted((_megapixels(case), case.host_ms.p50) for case in cases)
        axes.plot(*zip(*points, strict=True), label=_short(label), **_LINES[row % len(_LINES)])
        spoken = ", ".join(f"{number(ms)} ms at {number(mp)}" for mp, ms in points)
        told.append(f"{label}: {spoken} megapixels")
    _from_zero_or_log(axes, [case for cases in of_series.values() for case in cases])
    axes.set_xlabel("output megapixels")
    axes.set_ylabel("ms, median")
    _few_ticks(axes)
    axes.grid()
    drawn.legend(loc="outside upper left")
    return inline(drawn, name, "Latency against size. " + "; ".join(told))


def _from_zero_or_log(axes: "Axes", cases: Sequence[Case]) -> None:
    pixels = [_megapixels(case) for case in cases]
    if max(pixels) > 20 * min(pixels):
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        axes.set_xlim(0, 1.04 * max(pixels))
        axes.set_ylim(0, 1.05 * max(case.host_ms.p50 for case in cases))


def draw_quality(cases: Sequence[Case], name: str) -> Html:
    """PSNR against median time of one picture, numbered as given; a network's modes are joined."""
    networks = list(dict.fromkeys(map(network, cases)))
    drawn = figure(3.0 + 0.22 * len(networks))
    axes = drawn.subplots()
    for row, label in enumerate(networks):
        own = sorted(_point(case) for case in cases if network(case) == label)
        axes.plot(*zip(*own, strict=True), label=_short(label), **_LINES[row % len(_LINES)])
    for count, case in enumerate(cases, 1):
        above: dict[str, Any] = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center"}
        axes.annotate(str(count), _point(case), **above)
    axes.margins(0.1, 0.15)
    axes.set_xlim(left=0)
    axes.set_xlabel("ms, median")
    axes.set_ylabel("PSNR, dB")
    _few_ticks(axes)
    axes.grid()
    drawn.legend(loc="outside upper left")
    told = "; ".join(f"{series(case)}: {scored(case)}" for case in cases)
    return inline(drawn, name, f"Quality against latency, {place(cases[0])}. {told}")


def scored(case: Case) -> str:
    """Quality and time of a case that has both."""
    return f"{case.psnr_db:.2f} dB in {number(case.host_ms.p50)} ms"


def _point(case: Case) -> tuple[float, float]:
    return case.host_ms.p50, float("nan") if case.psnr_db is None else case.psnr_db


def draw_ratios(cases: Sequence[Case], name: str) -> Html:
    """How many times as fast as the baseline each case is; the baseline itself is a line."""
    drawn = figure(0.7 + 0.56 * len(cases))
    axes = drawn.subplots()
    speeds = [1 / case.over_baseline for case in cases if case.over_baseline]
    axes.axvline(1, color=INK, linewidth=1.2, linestyle="--", zorder=0.9)
    for row, (case, speed) in enumerate(zip(cases, speeds, strict=True)):
        axes.barh(row, speed, 0.44, facecolor="#51627d", edgecolor=INK, linewidth=0.8)
        _caption(axes, row, f"{_short(series(case))}: {number(speed)}")
    _bare_rows(axes, len(cases), max(1.0, *speeds))
    axes.set_xlabel("times as fast as the baseline (dashed)")
    told = "; ".join(f"{title(c)}: {number(s)}" for c, s in zip(cases, speeds, strict=True))
    return inline(drawn, name, f"Times as fast as the baseline. {told}")


def _few_ticks(axes: "Axes") -> None:
    """As many as fit beside each other on a phone."""
    if axes.get_xscale() == "linear":
        axes.locator_params("x", nbins=5, steps=[1, 2, 5, 10])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")


def _megapixels(case: Case) -> float:
    return case.hr_size[0] * case.hr_size[1] / 1e6


def _short(name: str) -> str:
    """Its start and its end, where it is too long for the width of a phone."""
    name = clean(name)
    if len(name) <= _NAME_LETTERS:
        return name
    return f"{name[:28]}\N{HORIZONTAL ELLIPSIS}{name[-16:]}"
