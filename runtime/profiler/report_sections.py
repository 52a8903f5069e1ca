"""The sections of the report: tables and plots of a profile."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .record import Case, Distribution, Profile, Stage
from .report_html import Html, bar, items, join, swatch, table, tag
from .report_plots import draw_latency, draw_quality, draw_ratios, draw_sizes, draw_stages, scored
from .report_sample import upsampler_colours, upsampler_names
from .report_words import NOTHING, answer, family, figure, flat, how, percent, place, series, title

Column = tuple[str, Callable[[Case], Any]]


def section(heading: str, *content: str, class_: str | None = None) -> Html:
    """A part of the page under a heading of the second level."""
    return tag("section", tag("h2", heading), *content, class_=class_)


def warnings(profile: Profile) -> Html:
    """What makes the figures doubtful, of the run and of each case; says so where nothing does."""
    lines: list[str] = list(profile.warnings)
    doubtful = [case for case in profile.cases if case.warnings]
    lines += [f"{title(case)}: {'; '.join(case.warnings)}" for case in doubtful]
    if not lines:
        return tag("p", "No warnings: nothing in this run makes its figures doubtful.")
    return section("Warnings", items(lines), class_="warnings")


def answers(profile: Profile) -> Html:
    """A sentence per case that leads to its details."""
    lines = [
        join([tag("a", title(case), href=f"#{anchor(i)}"), f": {answer(case, profile.cases)}"])
        for i, case in enumerate(profile.cases)
    ]
    return section("In short", items(lines, "answers"), _summary(profile))


def anchor(number: int) -> str:
    """The id of a case's details."""
    return f"case-{number + 1}"


def _summary(profile: Profile) -> Html:
    columns: list[Column] = [
        ("median ms", lambda case: figure(case.host_ms.p50)),
        ("p90", lambda case: figure(case.host_ms.p90)),
        ("p99", lambda case: figure(case.host_ms.p99)),
        ("device ms", lambda case: case.device_ms and figure(case.device_ms.p50)),
        ("times as fast", _speed),
        ("calls/s", lambda case: figure(case.calls_per_s)),
        ("output MP/s", lambda case: figure(case.output_megapixels_per_s)),
        ("heavy", lambda case: None if case.heavy_share is None else percent(case.heavy_share)),
        ("PSNR dB", lambda case: None if case.psnr_db is None else f"{case.psnr_db:.2f}"),
    ]
    return cases_table("All cases, wall time of a call", profile.cases, columns)


def cases_table(caption: str, cases: Sequence[Case], columns: Sequence[Column]) -> Html:
    """A row per case; columns without any value are left out."""
    filled = [(head, [value(case) for case in cases]) for head, value in columns]
    kept = [(head, cells) for head, cells in filled if any(cell is not None for cell in cells)]
    rows = [
        [title(case), *(NOTHING if cells[i] is None else cells[i] for _, cells in kept)]
        for i, case in enumerate(cases)
    ]
    return table(caption, ["case", *(head for head, _ in kept)], rows)


def _speed(case: Case) -> str | None:
    if case.is_baseline:
        return "baseline"
    return figure(1 / case.over_baseline) if case.over_baseline else None


def stage_bars(profile: Profile, colours: dict[str, str]) -> Html:
    """Where the time goes: a figure per size, and what the numbers in the bars stand for."""
    keys = [
        join([swatch(colour, str(i)), f" {name}"])
        for i, (name, colour) in enumerate(colours.items(), 1)
    ]
    keys.append(join([tag("span", class_="swatch hollow"), " unaccounted"]))
    plots = [
        plot(where, draw_stages(cases, colours, f"stages-{i}"))
        for i, (where, cases) in enumerate(_by_picture(profile.cases).items())
    ]
    shown = tag("div", *plots, class_="plots")
    return section("Where the time goes", items(keys, "legend"), shown)


def plot(caption: str, drawn: Html, legend: str = "") -> Html:
    """A drawing with its caption above it."""
    return tag("figure", tag("figcaption", caption), drawn, legend)


def comparisons(profile: Profile) -> Iterator[Html]:
    """Against the baseline, over sizes, against quality: each where there is something to say."""
    plots = [*_ratio_plots(profile.cases), *_size_plots(profile.cases)]
    plots += _quality_plots(profile.cases)
    if plots:
        yield section("Compared", tag("div", *plots, class_="plots"))


def _ratio_plots(cases: Sequence[Case]) -> Iterator[Html]:
    timed = [case for case in cases if case.over_baseline and not case.is_baseline]
    for i, (where, some) in enumerate(_by_picture(timed).items()):
        yield plot(f"Against the baseline, {where}", draw_ratios(some, f"ratios-{i}"))


def _size_plots(cases: Sequence[Case]) -> Iterator[Html]:
    of_family: dict[str, list[Case]] = {}
    for case in cases:
        of_family.setdefault(family(case), []).append(case)
    if len({case.lr_size for case in cases}) > 1:
        yield plot("Latency against size", draw_sizes(of_family, "sizes"))


def _quality_plots(cases: Sequence[Case]) -> Iterator[Html]:
    known = sorted((c for c in cases if c.psnr_db is not None), key=lambda c: c.host_ms.p50)
    for i, (where, some) in enumerate(_by_picture(known).items()):
        lines = [f"{count}: {series(case)}, {scored(case)}" for count, case in enumerate(some, 1)]
        drawn = draw_quality(some, f"quality-{i}")
        yield plot(f"Quality against latency, {where}", drawn, items(lines, "legend"))


def _by_picture(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """In the order of the cases: those of one picture and size can be compared with each other."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(place(case), []).append(case)
    return found


def costs(profile: Profile) -> Html:
    """What is paid once: opening, first use, another size; and memory."""
    columns: list[Column] = [
        ("open ms", lambda case: figure(case.open_ms)),
        ("first call ms", lambda case: figure(case.first_ms)),
        ("of its median", lambda case: f"{case.first_ms / case.host_ms.p50:.1f}x"),
        ("after another size ms", lambda case: case.switch_ms and figure(case.switch_ms)),
        ("peak memory MiB", lambda case: case.peak_mib and figure(case.peak_mib)),
    ]
    return section(
        "First use and memory",
        cases_table("Paid once, and the most memory held", profile.cases, columns),
    )


def details(profile: Profile, colours: dict[str, str]) -> Html:
    """Every case by itself."""
    ceilings = profile.ceilings
    half = ceilings.half_gflop_s
    reached = f"Ceilings measured in this run: {figure(ceilings.gflop_s)} GFLOP/s"
    reached += f" in float32, {figure(half)} GFLOP/s in half precision" if half else ""
    reached += f", {figure(ceilings.gb_s)} GB/s (read plus written)."
    cases = [_details(case, i, colours) for i, case in enumerate(profile.cases)]
    return section("Each case", tag("p", reached), *cases)


def _details(case: Case, number: int, colours: dict[str, str]) -> Html:
    listed = items(case.warnings, "warnings") if case.warnings else ""
    return tag(
        "article",
        tag("h3", title(case)),
        tag("p", how(case)),
        listed,
        _stage_table(case, colours),
        _spread_table(case),
        plot("Latency of the calls", draw_latency(case, f"latency-{number + 1}")),
        _pixels_table(case),
        id=anchor(number),
    )


def _stage_table(case: Case, colours: dict[str, str]) -> Html:
    places = {name: str(i) for i, name in enumerate(colours, 1)}
    rows = [
        _stage_row(stage, swatch(colours[stage.name], places[stage.name])) for stage in case.stages
    ]
    share = case.unaccounted_ms / _whole(case).mean
    rest: list[str] = [join([tag("span", class_="swatch hollow"), " unaccounted"])]
    rows.append([*rest, figure(case.unaccounted_ms), percent(share), *[NOTHING] * 5])
    head = ["stage", "ms", "share", "pixels", "GFLOP/s", "of ceiling", "GB/s", "of ceiling"]
    return table("Stages, mean per call", head, rows)


def _whole(case: Case) -> Distribution:
    return case.device_ms or case.host_ms


def _stage_row(stage: Stage, square: Html) -> list[str]:
    return [
        join([square, f" {stage.name}"]),
        figure(stage.ms),
        _barred(stage.share),
        NOTHING if stage.pixels is None else f"{stage.pixels:,}",
        figure(stage.gflop_s),
        _barred(stage.of_compute),
        figure(stage.gb_s),
        _barred(stage.of_memory),
    ]


def _barred(share: float | None) -> str:
    return (
        NOTHING
        if share is None
        else join([bar(share), tag("span", percent(share), class_="share")])
    )


def _spread_table(case: Case) -> Html:
    named = {
        "wall time": case.host_ms,
        "device": case.device_ms,
        "copy to device (H2D)": case.h2d_ms,
        "copy from device (D2H)": case.d2h_ms,
        "enqueue": case.enqueue_ms,
    }
    known = {name: spread for name, spread in named.items() if spread is not None}
    points = {name: _percentiles(spread) for name, spread in known.items()}
    more = ("mean", "std", "least", "most")
    rows = [
        [
            name,
            *map(figure, points[name].values()),
            *(figure(getattr(spread, field)) for field in more),
            f"{spread.samples:,}",
        ]
        for name, spread in known.items()
    ]
    head = ["", *points["wall time"], *more, "calls"]
    return table("Distribution of times, ms", head, rows)


def _percentiles(spread: Distribution) -> dict[str, float]:
    usual = {"p50": spread.p50, "p90": spread.p90, "p95": spread.p95, "p99": spread.p99}
    return usual | dict(spread.percentiles)


def _pixels_table(case: Case) -> Html:
    counts = case.pixels_per_upsampler
    if not counts or not sum(counts):
        return Html("")
    rows = [
        [join([swatch(colour), f" {name}"]), f"{count:,}", _barred(count / sum(counts))]
        for colour, name, count in zip(
            upsampler_colours(len(counts)), upsampler_names(len(counts)), counts, strict=True
        )
    ]
    return table("Pixels per upsampler", ["upsampler", "output pixels", "share"], rows)


def circumstances(profile: Profile) -> Html:
    """Machine, versions and plan of the run."""
    environment = table("Environment", ["what", "value"], flat(profile.environment))
    plan = table("Plan", ["what", "value"], flat(profile.plan))
    return section("How it was measured", tag("div", environment, plan, class_="pair"))
