"""Figures and sentences of the report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .record import Case, Profile

NOTHING = "\N{EN DASH}"


def figure(value: float | None, unit: str = "") -> str:
    """Three significant digits, thousands apart; a dash for None."""
    if value is None:
        return NOTHING
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    if value and abs(value) < 0.9995:
        digits = 3
    return f"{value:,.{digits}f}{' ' if unit else ''}{unit}"


def percent(share: float | None) -> str:
    """0.204 as "20.4 %"; a dash for None."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def size(pair: tuple[int, int]) -> str:
    """(height, width) as "276x420"."""
    return f"{pair[0]}x{pair[1]}"


def series(case: Case) -> str:
    """The case without its size."""
    return _without(case.name, size(case.lr_size))


def family(case: Case) -> str:
    """What a case shares with the same bundle and mode on other pictures."""
    return _without(series(case), case.picture)


def network(case: Case) -> str:
    """What a case shares with the same bundle in other modes, on this picture."""
    return _without(family(case), case.mode)


def _without(name: str, last: str) -> str:
    return (name.removesuffix(last).rstrip(" ,") if last else name) or name


def title(case: Case) -> str:
    """The case with both of its sizes."""
    return f"{series(case)}, {size(case.lr_size)} to {size(case.hr_size)}"


def place(case: Case) -> str:
    """The picture, where it has a name, and its size."""
    known = [case.picture] if case.picture and case.picture in case.name else []
    return ", ".join([*known, f"LR {size(case.lr_size)}"])


def answer(case: Case, cases: tuple[Case, ...]) -> str:
    """What was measured of one case, after its title, as the rest of a sentence."""
    parts = [f"{figure(case.host_ms.p50)} ms median"]
    if case.device_ms is not None:
        parts[0] += f" ({figure(case.device_ms.p50)} ms of device time)"
    if case.is_baseline:
        parts.append("the baseline")
    elif case.over_baseline:
        parts.append(compared(case.over_baseline, _baseline_of(case, cases)))
    slowest = max(case.stages, key=lambda stage: stage.ms, default=None)
    if slowest is None:
        return ", ".join(parts) + "."
    return f"{', '.join(parts)}; {slowest.name} takes {100 * slowest.share:.0f} %."


def compared(over_baseline: float, baseline: str) -> str:
    """A ratio of times in words: 0.4 is 2.5 times as fast."""
    if over_baseline <= 1:
        return f"{figure(1 / over_baseline)} times as fast as {baseline}"
    return f"{figure(over_baseline)} times as slow as {baseline}"


def _baseline_of(case: Case, cases: tuple[Case, ...]) -> str:
    baselines = [other for other in cases if other.is_baseline]
    same = [other for other in baselines if other.lr_size == case.lr_size]
    for baseline in same or baselines:
        return network(baseline)
    return "its baseline"


def headline(profile: Profile) -> str:
    """The bundles, each once."""
    return ", ".join(dict.fromkeys(map(_bundle_name, profile.cases))) or "nothing measured"


def _bundle_name(case: Case) -> str:
    return Path(case.bundle).name or case.bundle


def machine(profile: Profile) -> str:
    """The processors that ran, and when, as far as the environment names them."""
    environment = profile.environment
    on_gpu = any(case.device != "cpu" for case in profile.cases)
    found = [environment.get(key) for key in (("gpu", "cpu") if on_gpu else ("cpu",))]
    names = [
        str(name.get("name")) if isinstance(name, Mapping) else str(name) for name in found if name
    ]
    when = environment.get("date") or environment.get("time")
    where = f"on {' with '.join(names)}" if names else "on a machine that it does not name"
    return f"{where}, {str(when)[:16].replace('T', ' ')}" if when else where


def how(case: Case) -> str:
    """What computed the case."""
    return f"{case.kind}, {case.device}, {case.backend}, {case.precision}, {case.passes}"


def flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """(name, value) of a nested mapping, in words."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{above}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += flat(value, f"{name}: ")
        else:
            rows.append((name, _plain(value)))
    return rows


def _plain(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return figure(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    return str(value)
