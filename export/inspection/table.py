"""The report of pcsr-inspect, as people read it."""

from collections.abc import Iterable, Mapping
from typing import Any

from tabulate import tabulate

from pcsr.text import shortened

from .report import Inspection
from .targets import Host

KINDS = {"pcsr": "PCSR", "liif": "LIIF", "plain": "plain network"}
DEVICES = {"cpu": "CPU", "cuda": "GPU"}
TAIL = {"pcsr": "upsampler 0, all pixels", "liif": "MLP, all pixels", "plain": "tail"}
MOST_REASON = 160


def format_inspection(found: Inspection) -> str:
    """Formats a report for a terminal."""
    sections = [_what(found), _work(found), _tiling(found), _speedup(found), _targets(found)]
    return "\n\n".join(sections)


def _what(found: Inspection) -> str:
    rows = [
        ("what", f"{found.form} of a {KINDS[found.kind]} on {found.architecture}"),
        ("scale", _scale(found)),
        ("parameters", f"{found.parameters:,}"),
    ]
    for j, upsampler in enumerate(found.upsamplers):
        rows.append((f"upsampler {j}", _upsampler(upsampler)))
    if found.classifier_widths is not None:
        rows.append(("classifier", _widths(found.classifier_widths)))
    return f"{found.path}\n{aligned(rows)}"


def _scale(found: Inspection) -> str:
    if found.kind == "plain":
        return f"x{found.scale:g}"
    counted = "" if found.scale == found.trained_scale else f", counted at x{found.scale:g}"
    return f"any; trained for x{found.trained_scale:g}{counted}"


def _upsampler(values: Mapping[str, Any]) -> str:
    text = f"MLP of {_widths(values['widths'])}"
    if values["neighbours"] == 4:
        text += ", evaluated at 4 neighbours"
    return text + (", with 3x3 features" if values.get("unfold") else "")


def _widths(widths: Iterable[int]) -> str:
    return " ".join(map(str, widths)) or "one layer"


def _work(found: Inspection) -> str:
    work = found.work
    rows = [
        ("backbone", f"{work.backbone_macs:,.0f}", f"{1 - work.tail_share:.0%}"),
        (TAIL[found.kind], f"{work.tail_macs:,.0f}", f"{work.tail_share:.0%}"),
    ]
    begins = f", the tail from {work.tail_begins} on" if work.tail_begins else ""
    as_written = ", as its authors compute it" if _is_unfolded(found) else ""
    title = f"work at x{found.scale:g}, multiply-adds per input pixel{as_written}{begins}"
    return f"{title}\n{aligned(rows)}"


def _is_unfolded(found: Inspection) -> bool:
    return found.kind == "liif" and found.form == "checkpoint"


def _tiling(found: Inspection) -> str:
    tiling = found.tiling
    if tiling.exact:
        answer = f"yes, with a receptive radius of {tiling.radius_px} input pixels"
    else:
        answer = f"no: {shortened((tiling.reason or '').partition('; ')[0], MOST_REASON)}"
    return f"exact tiling\n  {answer}"


def _speedup(found: Inspection) -> str:
    speedup, itself = found.speedup, "itself"
    if found.kind == "pcsr":
        itself = "itself, all heavy"
    if _is_unfolded(found):
        itself = "its authors' form"
    as_pcsr, exact = speedup.as_pcsr, speedup.exact_bundle
    rows = []
    if exact is not None:
        rows.append((f"exact bundle over {itself}", _times(exact)))
    if as_pcsr is not None:
        heavy = f"PCSR at {speedup.heavy_ratio:.0%} heavy"
        rows.append((f"{heavy} over {itself}", _times(as_pcsr)))
        rows += [(f"{heavy} over the exact bundle", _times(as_pcsr / exact))] if exact else []
    lines = [aligned(rows)] if rows else []
    lines += [f"  upsamplers: {speedup.upsamplers}"] if rows else []
    title = "speed-up to expect, by count of multiply-adds (no measured time)"
    return "\n".join([title, *lines, f"  {speedup.advice}"])


def _times(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio >= 2 else f"{ratio:.2f}x"


def _targets(found: Inspection) -> str:
    if not any(one.possible for one in found.precisions):
        return f"precisions and hosts\n  none: {found.precisions[0].note}"
    precisions = [(p.name, "yes" if p.possible else "no", p.note) for p in found.precisions]
    hosts = [(h.backend, DEVICES[h.device], _runs(h)) for h in found.hosts]
    return f"precisions\n{aligned(precisions)}\n\nhosts\n{aligned(hosts)}"


def _runs(host: Host) -> str:
    return host.reason or ", ".join(host.precisions) or "none"


def aligned(rows: Iterable[tuple[str, ...]]) -> str:
    """Sets rows in columns, indented."""
    text = tabulate([*rows], tablefmt="plain", disable_numparse=True)
    return "\n".join(f"  {line}" for line in text.splitlines())
