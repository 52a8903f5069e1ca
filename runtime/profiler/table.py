"""A profile on the terminal: all cases of a size side by side, then where each one's time goes."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from tabulate import tabulate

from .measuring.statistics import grouped
from .record import Case, Profile, Stage
from .report.words import family, size

WIDTH = 100  # characters
NAME_WIDTH = 20  # of a case, in a comparison; longer ones take several lines
BAR = 20

Row = Mapping[str, str]
"""Cells by the heads of their columns."""


def format_profile(profile: Profile) -> str:
    """Prints several lines without a line break at the end."""
    groups = grouped(profile.cases, lambda case: (case.lr_size, case.hr_size, case.picture))
    percentiles = [f"p{point:g}" for point in profile.plan["percentiles"]]
    parts = [_head(profile)]
    for cases in groups.values():
        parts.append(_comparison(cases, percentiles, len(groups) > 1))
        parts += [_breakdown(case) for case in cases]
    parts.append("\n".join(_warned(profile.warnings)))
    return "\n\n".join(filter(None, parts))


def _head(profile: Profile) -> str:
    environment, roof = profile.environment, profile.ceilings
    where = environment.get("gpu") or f"{environment['cpu']}, {environment['threads']} threads"
    half = f" ({_digits(roof.half_gflop_s)} half)" if roof.half_gflop_s else ""
    ceilings = f"ceilings here: {_digits(roof.gflop_s)} GFLOP/s{half}, {_digits(roof.gb_s)} GB/s"
    lines = [where, ceilings]
    state = environment.get("gpu_state", {})
    if "after" in state:
        units = {"sm_mhz": "MHz", "power_w": "W", "temperature_c": "°C"}
        now = state["after"]
        known = [f"{now[key]:.0f} {unit}" for key, unit in units.items() if key in now]
        lines.append(f"after the run: {', '.join(known)} ({state['source']})")
    return "\n".join(lines)


def _comparison(cases: Sequence[Case], percentiles: Sequence[str], has_groups: bool) -> str:
    first = cases[0]
    title = f"{size(first.lr_size)} -> {size(first.hr_size)}, {first.picture}"
    title += f", {first.device}: ms of "
    title += "device time" if first.device_ms else "wall time, array to array"
    rule = ["=" * len(title)] if has_groups else []
    return "\n".join([title, *rule, _tabulated([_row(case, percentiles) for case in cases])])


def _row(case: Case, percentiles: Sequence[str]) -> Row:
    times = case.device_ms or case.host_ms
    return {
        "": textwrap.fill(_label(case), NAME_WIDTH),
        **{name: _digits(times.percentiles[name]) for name in percentiles},
        "mean ± std": f"{_digits(times.mean)} ± {_digits(times.std)}",
        "n": str(times.samples),
        "MP/s": f"{case.output_megapixels_per_s:.3g}",
        "heavy": _share(case.heavy_share),
        "time/base": "" if case.over_baseline is None else f"{case.over_baseline:.2f}",
        "PSNR": "" if case.psnr_db is None else f"{case.psnr_db:.2f}",
    }


def _breakdown(case: Case) -> str:
    whole_ms = case.unaccounted_ms + sum(stage.ms for stage in case.stages)
    rest = f"{case.unaccounted_ms / whole_ms:.1%}"
    rows = [
        *map(_stage_row, case.stages),
        {"stage": "(no stage)", "ms": _digits(case.unaccounted_ms), "share": rest},
    ]
    kind = f"{case.backend}, {case.precision}, passes {case.passes}"
    lines = [f"{_label(case)}: mean {_digits(whole_ms)} ms ({kind})", _tabulated(rows)]
    lines += _wrapped("; ".join(_facts(case)))
    return "\n".join([*lines, *_warned(case.warnings)])


def _stage_row(stage: Stage) -> Row:
    return {
        "stage": stage.name,
        "ms": _digits(stage.ms),
        "share": f"{stage.share:.1%}",
        "Mpx": "" if stage.pixels is None else f"{stage.pixels / 1e6:.3f}",
        "GFLOP/s": _digits(stage.gflop_s),
        "of peak": _share(stage.of_compute),
        "GB/s": _digits(stage.gb_s),
        "of copy": _share(stage.of_memory),
        " ": "█" * round(BAR * stage.share),
    }


def _facts(case: Case) -> Iterator[str]:
    transfers = {
        "host": case.host_ms,
        "H2D": case.h2d_ms,
        "D2H": case.d2h_ms,
        "enqueue": case.enqueue_ms,
    }
    if case.device_ms is not None:
        yield "p50 of " + ", ".join(f"{k} {_digits(v.p50)} ms" for k, v in transfers.items() if v)
    yield f"open {_digits(case.open_ms)} ms"
    yield f"first call {_digits(case.first_ms)} ms"
    if case.switch_ms is not None:
        yield f"after another size {_digits(case.switch_ms)} ms"
    if case.peak_mib is not None:
        yield f"peak {case.peak_mib:.0f} MiB"


def _tabulated(rows: Sequence[Row]) -> str:
    """Leaves out the columns that are empty. The first row has all heads."""
    heads = [head for head in rows[0] if any(row.get(head) for row in rows)]
    cells = [[row.get(head, "") for head in heads] for row in rows]
    align = ["left" if head in ("", " ", "stage") else "right" for head in heads]
    return tabulate(cells, heads, tablefmt="simple", colalign=align, disable_numparse=True)


def _label(case: Case) -> str:
    """Names the case without what the title says."""
    return f"{family(case)} (baseline)" if case.is_baseline else family(case)


def _digits(value: float | None) -> str:
    """Gives three to four digits that count."""
    if value is None:
        return ""
    places = sum(abs(value) < limit for limit in (1, 10, 100))
    return f"{value:.{places}f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _warned(warnings: Sequence[str]) -> list[str]:
    return [f"! {line}" for warning in warnings for line in _wrapped(warning)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 2)
