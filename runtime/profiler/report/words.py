"""Numbers, names and sentences of the report."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pcsr.runtime.profiler.record import Case, Profile
from pcsr.text import size_text

Row = Sequence[str]
NOTHING = "\N{EN DASH}"
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+")
SUMMARY: dict[str, Callable[[Case], str]] = {
    "median ms": lambda case: number(case.host_ms.p50),
    "p90": lambda case: number(case.host_ms.p90),
    "p99": lambda case: number(case.host_ms.p99),
    "device ms": lambda case: number(case.device_ms.p50 if case.device_ms else None),
    "times as fast": lambda case: "baseline" if case.is_baseline else number(speed(case)),
    "calls/s": lambda case: number(case.calls_per_s),
    "output MP/s": lambda case: number(case.output_megapixels_per_s),
    "heavy": lambda case: percent(case.heavy_share),
    "PSNR dB": lambda case: NOTHING if case.psnr_db is None else f"{case.psnr_db:.2f}",
}
FIRST_USE: dict[str, Callable[[Case], str]] = {
    "open ms": lambda case: number(case.open_ms),
    "first call ms": lambda case: number(case.first_ms),
    "of its median": lambda case: f"{case.first_ms / case.host_ms.p50:.1f}x",
    "after another size ms": lambda case: number(case.switch_ms),
    "peak memory MiB": lambda case: number(case.peak_mib),
}


def clean(text: str) -> str:
    """Replaces what no page may hold: control characters, halves of undecodable file names."""
    return _NOT_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)


def number(value: float | None) -> str:
    """Gives three significant digits, thousands apart; all digits of an int; a dash for None."""
    if value is None:
        return NOTHING
    if isinstance(value, int):
        return f"{value:,}"
    digits = sum(abs(value) < limit for limit in (0.9995, 9.995, 99.95))
    return f"{value:,.{digits}f}"


def percent(share: float | None) -> str:
    """Gives 0.204 as "20.4 %", and a dash for None."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def size(pair: Sequence[int]) -> str:
    """Gives (height, width) as "420x276"."""
    return size_text(pair)


def speed(case: Case) -> float | None:
    """Gives how many times as fast as its baseline the case is."""
    return case.over_baseline and 1 / case.over_baseline


def series(case: Case) -> str:
    """Names the case without its size."""
    return case.name.removesuffix(f", {size(case.lr_size)}")


def family(case: Case) -> str:
    """Names what a case shares with the same bundle and mode on other pictures."""
    return series(case).removesuffix(f", {case.picture}")


def network(case: Case) -> str:
    """Names what a case shares with the same bundle in other modes, on this picture."""
    return family(case).removesuffix(f", {case.mode}")


def title(case: Case) -> str:
    """Names the case with both of its sizes."""
    return f"{series(case)}, {size(case.lr_size)} to {size(case.hr_size)}"


def place(case: Case) -> str:
    """Names the picture, where it has a name, and its size."""
    known = [case.picture] if case.picture and case.picture in case.name else []
    return ", ".join([*known, f"LR {size(case.lr_size)}"])


def answer(case: Case, cases: Sequence[Case]) -> str:
    """Tells what was measured of a case, as the rest of a sentence behind its title."""
    said = f"{number(case.host_ms.p50)} ms median"
    if case.device_ms is not None:
        said += f" ({number(case.device_ms.p50)} ms of device time)"
    if case.is_baseline:
        said += ", the baseline"
    elif case.over_baseline:
        ratio, word = max((1 / case.over_baseline, "fast"), (case.over_baseline, "slow"))
        rivals = (one for one in cases if one.is_baseline and one.lr_size == case.lr_size)
        said += f", {number(ratio)} times as {word} as {next(map(network, rivals))}"
    slowest = max(case.stages, key=lambda stage: stage.ms)
    return f"{said}; {slowest.name} takes {100 * slowest.share:.0f} %."


def headline(cases: Sequence[Case]) -> str:
    """Names the bundles, each once."""
    names = (Path(case.bundle).name or case.bundle for case in cases)
    return ", ".join(dict.fromkeys(names))


def machine(profile: Profile) -> str:
    """Names the processors that ran, and when."""
    environment = profile.environment
    names = filter(None, [environment.get("gpu"), environment["cpu"]])
    return f"{' with '.join(names)}, {environment['date'][:16].replace('T', ' ')}"


def case_table(
    cases: Sequence[Case], columns: Mapping[str, Callable[[Case], str]]
) -> tuple[Row, Sequence[Row]]:
    """Gives the head and a row per case; columns without any value are left out."""
    cells = {head: [cell(case) for case in cases] for head, cell in columns.items()}
    filled = {head: column for head, column in cells.items() if set(column) != {NOTHING}}
    return ["case", *filled], list(zip(map(title, cases), *filled.values(), strict=True))


def time_table(case: Case) -> tuple[Row, Sequence[Row]]:
    """Gives the head and the rows of percentiles and moments, one for each time of a call."""
    known = {
        "wall time": case.host_ms,
        "device": case.device_ms,
        "copy to device (H2D)": case.h2d_ms,
        "copy from device (D2H)": case.d2h_ms,
        "enqueue": case.enqueue_ms,
    }
    rows = [
        [name, *map(number, (*t.percentiles.values(), t.mean, t.std, t.least, t.most, t.samples))]
        for name, t in known.items()
        if t is not None
    ]
    return ["", *case.host_ms.percentiles, "mean", "std", "least", "most", "calls"], rows


def facts(values: Mapping[str, Any], above: str = "") -> list[Row]:
    """Gives (name, value) of a nested mapping, in words."""
    rows: list[Row] = []
    for key, value in values.items():
        name = f"{above}{key}".replace("_", " ")
        rows += facts(value, f"{name}: ") if isinstance(value, Mapping) else [(name, _plain(value))]
    return rows


def _plain(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "not known"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    return str(value)
