"""The report of pcsr-inspect, as people read it."""

from collections.abc import Iterable

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
    return f"{found.path}\n{_table(rows)}"


def _scale(found: Inspection) -> str:
    if found.kind == "plain":
        return f"x{found.scale:g}"
    trained = f"any; trained for x{found.trained_scale:g}"
    return trained if found.scale == found.trained_scale else f"{trained}, counted at x{found.scale:g}"


def _upsampler(one: object) -> str:
    values = dict(one)  # type: ignore[call-overload]
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
    return f"{title}\n{_table(rows)}"


def _is_unfolded(found: Inspection) -> bool:
    return found.kind == "liif" and found.form == "checkpoint"


def _tiling(found: Inspection) -> str:
    if found.tiling.exact:
        return f"exact tiling\n  yes, with a receptive radius of {found.tiling.radius_px} input pixels"
    return f"exact tiling\n  no: {shortened(found.tiling.reason or '', MOST_REASON)}"


def _speedup(found: Inspection) -> str:
    speedup = found.speedup
    itself = "its authors' form" if _is_unfolded(found) else "itself"
    itself = "itself, all heavy" if found.kind == "pcsr" else itself
    rows = []
    if speedup.exact_bundle is not None:
        rows.append((f"exact bundle over {itself}", f"{speedup.exact_bundle:.1f}x"))
    if speedup.as_pcsr is not None:
        share = f"PCSR at {speedup.heavy_ratio:.0%} heavy over {itself}"
        rows.append((share, f"{speedup.as_pcsr:.2g}x" if speedup.as_pcsr >= 10 else f"{speedup.as_pcsr:.1f}x"))
    if speedup.as_pcsr is not None and speedup.exact_bundle:
        over_exact = speedup.as_pcsr / speedup.exact_bundle
        rows.append(("PCSR over the exact bundle", f"{over_exact:.1f}x"))
    title = "speed-up to expect, by count of multiply-adds: no measured time"
    lines = [title, *([_table(rows)] if rows else [])]
    return "\n".join([*lines, f"  upsamplers: {speedup.upsamplers}", f"  {speedup.advice}"])


def _targets(found: Inspection) -> str:
    precisions = [(p.name, "yes" if p.possible else "no", p.note) for p in found.precisions]
    hosts = [(h.backend, DEVICES[h.device], _runs(h)) for h in found.hosts]
    return f"precisions\n{_table(precisions)}\n\nhosts\n{_table(hosts)}"


def _runs(host: Host) -> str:
    return host.reason or ", ".join(host.precisions) or "none"


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    text = tabulate([*rows], tablefmt="plain", disable_numparse=True)
    return "\n".join(f"  {line}" for line in text.splitlines())
