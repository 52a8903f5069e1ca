"""A profile on the terminal: all cases of a size side by side, then where each one's time goes."""

import textwrap
from collections.abc import Iterator, Sequence

from tabulate import tabulate

from .measuring.statistics import KEPT_POINTS
from .record import Case, Distribution, Profile

WIDTH = 100  # characters
NAME_WIDTH = 20  # of a case, in a comparison; longer ones take several lines
BAR = 20


def format_profile(profile: Profile) -> str:
    """Prints several lines without a line break at the end."""
    groups: dict[tuple[object, ...], list[Case]] = {}
    for case in profile.cases:
        groups.setdefault((case.lr_size, case.hr_size, case.picture), []).append(case)
    parts = [_head(profile)]
    for cases in groups.values():
        parts.append(_comparison(cases, _names(profile), len(groups) > 1))
        parts += [_breakdown(case) for case in cases]
    parts += ["\n".join(f"! {line}" for warning in profile.warnings for line in _wrapped(warning))]
    return "\n\n".join(part for part in parts if part)


def _head(profile: Profile) -> str:
    environment, roof = profile.environment, profile.ceilings
    where = environment.get("gpu") or (
        f"{environment.get('cpu')}, {environment.get('threads')} threads"
    )
    half = f" ({_rate(roof.half_gflop_s)} half)" if roof.half_gflop_s else ""
    ceilings = f"ceilings here: {_rate(roof.gflop_s)} GFLOP/s{half}, {_rate(roof.gb_s)} GB/s"
    lines = [str(where), ceilings]
    state = environment.get("gpu_state", {})
    if state.get("after"):
        units = {"sm_mhz": "MHz", "power_w": "W", "temperature_c": "°C"}
        now = state["after"]
        known = [f"{now[key]:.0f} {unit}" for key, unit in units.items() if key in now]
        lines.append(f"after the run: {', '.join(known)} ({state['source']})")
    return "\n".join(lines)


def _names(profile: Profile) -> list[str]:
    """The percentiles that were asked for."""
    return [f"p{point:g}" for point in profile.plan.get("percentiles", KEPT_POINTS)]


def _comparison(cases: Sequence[Case], percentiles: Sequence[str], has_groups: bool) -> str:
    first = cases[0]
    baseline = next((case for case in cases if case.is_baseline), None)
    title = f"{_size(first.lr_size)} -> {_size(first.hr_size)}, {first.picture}"
    title += f", {first.device}: ms of "
    title += "device time" if first.device_ms else "wall time, array to array"
    columns = {"": [textwrap.fill(_label(case), NAME_WIDTH) for case in cases]}
    times = [case.device_ms or case.host_ms for case in cases]
    for name in percentiles:
        columns[name] = [_ms(_point(one, name)) for one in times]
    columns["mean ± std"] = [f"{_ms(one.mean)} ± {_ms(one.std)}" for one in times]
    columns["n"] = [str(one.samples) for one in times]
    columns["MP/s"] = [f"{case.output_megapixels_per_s:.3g}" for case in cases]
    columns["heavy"] = [_share(case.heavy_share) for case in cases]
    if baseline is not None:
        columns["time/base"] = [_times(case.over_baseline) for case in cases]
    columns["PSNR"] = [f"{case.psnr_db:.2f}" if case.psnr_db is not None else "" for case in cases]
    rule = "=" * len(title) if has_groups else ""
    return "\n".join(filter(None, (title, rule, _tabulated(columns))))


def _breakdown(case: Case) -> str:
    stages = [*case.stages]
    columns = {
        "stage": [stage.name for stage in stages],
        "ms": [_ms(stage.ms) for stage in stages],
        "share": [f"{stage.share:.1%}" for stage in stages],
        "Mpx": [_mega(stage.pixels) for stage in stages],
        "GFLOP/s": [_number(stage.gflop_s) for stage in stages],
        "of peak": [_share(stage.of_compute) for stage in stages],
        "GB/s": [_number(stage.gb_s) for stage in stages],
        "of copy": [_share(stage.of_memory) for stage in stages],
        " ": [_bar(stage.share) for stage in stages],
    }
    rest = _share_of_rest(case)
    if columns["stage"]:
        for name, cell in (
            ("stage", "(no stage)"),
            ("ms", _ms(case.unaccounted_ms)),
            ("share", rest),
        ):
            columns[name] = [*columns[name], cell]
    body = _tabulated(columns)
    whole_ms = case.unaccounted_ms + sum(stage.ms for stage in case.stages)
    kind = f"{case.backend}, {case.precision}, passes {case.passes}"
    lines = [f"{_label(case)}: mean {_ms(whole_ms)} ms ({kind})", body]
    lines += _wrapped("; ".join(_facts(case)))
    lines += [f"! {line}" for warning in case.warnings for line in _wrapped(warning)]
    return "\n".join(lines)


def _facts(case: Case) -> Iterator[str]:
    transfers = {
        "host": case.host_ms,
        "H2D": case.h2d_ms,
        "D2H": case.d2h_ms,
        "enqueue": case.enqueue_ms,
    }
    if case.device_ms is not None:
        yield "p50 of " + ", ".join(f"{k} {_ms(v.p50)} ms" for k, v in transfers.items() if v)
    yield f"open {_ms(case.open_ms)} ms"
    yield f"first call {_ms(case.first_ms)} ms"
    if case.switch_ms is not None:
        yield f"after another size {_ms(case.switch_ms)} ms"
    if case.peak_mib is not None:
        yield f"peak {case.peak_mib:.0f} MiB"


def _share_of_rest(case: Case) -> str:
    whole = case.unaccounted_ms + sum(stage.ms for stage in case.stages)
    return f"{case.unaccounted_ms / whole:.1%}" if whole else ""


def _tabulated(columns: dict[str, list[str]]) -> str:
    """Without the columns that are empty."""
    rows = max(map(len, columns.values()))
    kept = {
        name: cells + [""] * (rows - len(cells)) for name, cells in columns.items() if any(cells)
    }
    align = ["left" if name in ("", " ", "stage") else "right" for name in kept]
    return tabulate(kept, "keys", tablefmt="simple", colalign=align, disable_numparse=True)


def _label(case: Case) -> str:
    """The name without what the title says."""
    name = case.name.removesuffix(f", {_size(case.lr_size)}").removesuffix(f", {case.picture}")
    return f"{name} (baseline)" if case.is_baseline else name


def _point(one: Distribution, name: str) -> float:
    found = one.percentiles.get(name)
    return float(getattr(one, name)) if found is None else found


def _bar(share: float) -> str:
    return "█" * round(BAR * max(0.0, share))


def _ms(value: float) -> str:
    """Three to four digits that count."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return (
        f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
        if abs(value) >= 1
        else f"{value:.3f}"
    )


def _number(value: float | None) -> str:
    return "" if not value else _rate(value)


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _mega(pixels: int | None) -> str:
    return "" if pixels is None else f"{pixels / 1e6:.3f}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 2) or []
