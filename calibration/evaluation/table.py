"""Formats the means of an evaluation as tables of papers have them: text, CSV and LaTeX."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from .quoted import QuotedRow
from .report import EvaluationReport, Network, Score

MEASURED = "measured"
CSV_COLUMNS = (
    "source",
    "network",
    "backbone",
    "mode",
    "protocol",
    "upsamplers",
    "parameters",
    "psnr_rgb_db",
    "gflops",
    "percent",
)
_TEXTS = ("network", "mode", "protocol")
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "∞": r"$\infty$",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)
Cells = dict[str, str]


@dataclass(frozen=True)
class _Row:
    """One network in one mode under one protocol."""

    network: Network
    mean: Score
    percent: float | None
    """Of the GFLOPs of the original network under the same protocol; None without one."""

    @property
    def gflops(self) -> float:
        return self.mean.paper_gflops or 0.0


def table_notes(report: EvaluationReport) -> list[str]:
    """Notes the networks whose bundles do not count their parameters, and a percentage of a
    network with another backbone.
    """
    originals = [(each, _original(each, report.networks)) for each in report.networks]
    return [
        *(
            f"the percentage of {network.name} is that of {original.name}'s GFLOPs, a network on "
            f"{original.backbone}, not on {network.backbone}"
            for network, original in originals
            if original is not None and original.backbone != network.backbone
        ),
        *_without_parameters(report),
    ]


def _without_parameters(report: EvaluationReport) -> list[str]:
    return [
        f"{network.bundle} does not say how many parameters its network has; export it again"
        for network in report.networks
        if network.parameters is None
    ]


def _rows(report: EvaluationReport) -> list[_Row]:
    networks = {network.name: network for network in report.networks}
    means = [mean for mean in report.means if mean.network]
    gflops = {(mean.network, mean.protocol): mean.paper_gflops for mean in means}

    def row(mean: Score) -> _Row:
        network = networks[mean.network]
        original = _original(network, report.networks)
        whole = gflops.get((original.name, mean.protocol)) if original else None
        percent = 100 * ((mean.paper_gflops or 0.0) / whole) if whole else None
        return _Row(network, mean, percent)

    return [row(mean) for mean in means]


def _original(network: Network, networks: Sequence[Network]) -> Network | None:
    """Finds the plain network of the same backbone; that of the only pair is it in any case."""
    if network.kind == "plain":
        return network
    plain = [other for other in networks if other.kind == "plain"]
    alike = [other for other in plain if other.backbone == network.backbone]
    return next(iter(plain if len(networks) == 2 else alike), None)


def _cells(row: _Row) -> Cells:
    return {
        "network": row.network.name,
        "mode": row.mean.method,
        "protocol": row.mean.protocol,
        "M": str(row.network.upsamplers or "-"),
        "parameters": _parameters(row.network.parameters),
        "PSNR dB": _decibels(row.mean.psnr_rgb_db),
        "GFLOPs": f"{_gflops(row.gflops)}{_percent(row.percent)}",
    }


def _quoted_cells(row: QuotedRow) -> Cells:
    return {
        "network": row.network,
        "mode": "",
        "protocol": row.protocol,
        "M": "",
        "parameters": row.parameters,
        "PSNR dB": _decibels(row.psnr_rgb_db),
        "GFLOPs": f"{row.gflops:.1f}{_percent(row.percent)}",
    }


def _parameters(count: int | None) -> str:
    if count is None:
        return "-"
    if count < 1000:
        return str(count)
    return f"{count / 1e3:.2f}K" if count < 1e6 else f"{count / 1e6:.2f}M"


def _decibels(psnr_db: float) -> str:
    return f"{psnr_db:.2f}" if math.isfinite(psnr_db) else "∞"


def _gflops(gflops: float) -> str:
    """Writes one decimal as the paper does, of small images three digits."""
    return f"{gflops:.1f}" if gflops >= 10 else f"{gflops:#.3g}"


def _percent(percent: float | None) -> str:
    return " (-)" if percent is None else f" ({percent:.0f}%)"


def _columns(report: EvaluationReport, rows: Sequence[_Row]) -> list[str]:
    """Lists the columns that say something: the protocol but for whole images alone, M where
    networks differ in it.
    """
    counts = {row.network.upsamplers for row in rows if row.network.kind == "pcsr"}
    hidden = {"protocol"} if report.protocols == ["image"] else set()
    hidden |= set() if len(counts) > 1 else {"M"}
    return [name for name in _cells(rows[0]) if name not in hidden]


def _caption(report: EvaluationReport) -> str:
    count = len({score.image for score in report.scores})
    images = "one image" if count == 1 else f"means of {count} images"
    how = [f"RGB without a border of {report.border} px", *([report.lr] if report.lr else [])]
    return ", ".join([f"{images} at scale {report.scale:g}", *how])


def _quotation(row: QuotedRow) -> str:
    return f"{row.test_set}, quoted, not measured: {row.source}"


def _text(report: EvaluationReport) -> str:
    rows = _rows(report)
    table = _aligned([_cells(row) for row in rows], _columns(report, rows))
    blocks = [_caption(report), table]
    if report.quoted:
        columns = ["network", "protocol", "parameters", "PSNR dB", "GFLOPs"]
        table = _aligned([_quoted_cells(row) for row in report.quoted], columns)
        blocks += [_quotation(report.quoted[0]), table]
    return "\n\n".join(blocks)


def _aligned(rows: Sequence[Cells], columns: Sequence[str]) -> str:
    return tabulate(
        [[cells[name] for name in columns] for cells in rows],
        columns,
        disable_numparse=True,
        colalign=tuple("left" if name in _TEXTS else "right" for name in columns),
    )


def _csv(report: EvaluationReport) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in _rows(report):
        network, mean = row.network, row.mean
        what = (MEASURED, network.name, network.backbone, mean.method, mean.protocol)
        count = network.upsamplers or None
        writer.writerow(
            (*what, count, network.parameters, mean.psnr_rgb_db, row.gflops, row.percent)
        )
    for quoted in report.quoted:
        what = (quoted.source, quoted.network, quoted.backbone, "", quoted.protocol)
        figures = (quoted.psnr_rgb_db, quoted.gflops, quoted.percent)
        writer.writerow((*what, None, quoted.parameter_count, *figures))
    return text.getvalue().rstrip("\n")


def _latex(report: EvaluationReport) -> str:
    rows = _rows(report)
    columns = _columns(report, rows)
    if report.quoted and "protocol" not in columns:
        columns.insert(columns.index("mode") + 1, "protocol")
    lines = [
        f"% {_caption(report)}; needs \\usepackage{{booktabs}}",
        rf"\begin{{tabular}}{{{''.join('l' if name in _TEXTS else 'r' for name in columns)}}}",
        r"\toprule",
        _latex_row(columns),
        r"\midrule",
        *(_latex_row([_cells(row)[name] for name in columns]) for row in rows),
    ]
    if report.quoted:
        quotation = _quotation(report.quoted[0]).translate(_LATEX)
        lines += [
            r"\midrule",
            rf"\multicolumn{{{len(columns)}}}{{l}}{{{quotation}}} \\",
            r"\midrule",
        ]
        cells = map(_quoted_cells, report.quoted)
        lines += [_latex_row([each[name] for name in columns]) for each in cells]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_row(cells: Sequence[str]) -> str:
    words = ("--" if cell == "-" else cell.translate(_LATEX) for cell in cells)
    return " & ".join(words) + r" \\"


FORMATS: dict[str, Callable[[EvaluationReport], str]] = {
    "text": _text,
    "csv": _csv,
    "latex": _latex,
}
"""What formats a row for each network, mode and protocol, with the means over the images, and apart
from them what is quoted; by the name of the format. The report has a score.
"""
