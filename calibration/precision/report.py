"""Reports what a calibration of precision found, as a table and JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tabulate import SEPARATING_LINE, tabulate

from .quality import ImageFigures, mean_figures
from .search import SearchResult, as_rows
from .speed import Speed


@dataclass(frozen=True)
class GraphSetReport:
    """Says what was found for one set of quantised graphs."""

    platform: str
    set_name: str
    found: SearchResult
    speed: Speed | None
    """Measured on this machine; None where it cannot be."""

    def as_json(self) -> dict[str, Any]:
        speed = self.speed and asdict(self.speed) | {
            "graph_speedup": self.speed.graph_speedup,
            "call_speedup": self.speed.call_speedup,
        }
        return {
            "target": self.platform,
            "graphs": self.set_name,
            "range_level": self.found.level,
            "copied": self.found.copied,
            "layers": as_rows(self.found),
            "images": [asdict(f) | {"psnr_loss_db": f.psnr_loss_db} for f in self.found.figures],
            "mean": mean_figures(self.found.figures),
            "speed": speed,
        }


@dataclass(frozen=True)
class PrecisionReport:
    """Holds the content of `calibrations["int8"]` (or `fp8`) of a bundle."""

    precision: str
    bundle: str
    options: Mapping[str, Any]
    images: tuple[Mapping[str, str], ...]
    targets: tuple[GraphSetReport, ...]
    machine: Mapping[str, Any]
    tools: Mapping[str, str]

    def to_json(self) -> str:
        """Writes everything; where there is no figure it is null."""
        data = vars(self) | {
            "targets": [one.as_json() for one in self.targets],
            "warnings": self.warnings(),
        }
        return json.dumps(data, indent=2, allow_nan=False) + "\n"

    def warnings(self) -> list[str]:
        """Says what a user should know before relying on the graphs."""
        speeds = [one.speed for one in self.targets if one.speed is not None]
        return [warning for speed in speeds for warning in self._slower(speed)]

    def _slower(self, speed: Speed) -> list[str]:
        figures = {
            "the image graph": (speed.graph_ms, speed.graph_fp32_ms),
            "a whole call": (speed.call_ms, speed.call_fp32_ms),
        }
        return [
            f"on this machine {self.precision} is slower than fp32: {what} takes {found_ms:.1f} ms "
            f"instead of {fp32_ms:.1f} ({found_ms / fp32_ms:.2f} times as long); "
            "use --precision fp32 here"
            for what, (found_ms, fp32_ms) in figures.items()
            if found_ms > fp32_ms
        ]


def format_tables(report: PrecisionReport) -> str:
    """Formats for each set a table of images, one of layers and a line on the speed."""
    return "\n\n".join(_set(one) for one in report.targets)


def _set(one: GraphSetReport) -> str:
    found = one.found
    kept = len(found.layers) - len(found.quantised)
    head = (
        f"{one.platform} ({one.set_name}): {len(found.quantised)} convolutions quantised, "
        f"{kept} kept in float32, {len(found.copied)} tensors in two copies\n"
    )
    parts = [head + image_table(found.figures), _layers(found)]
    return "\n\n".join([*parts, _speed(one.speed)] if one.speed is not None else parts)


def image_table(figures: Sequence[ImageFigures]) -> str:
    """Formats a row for each image, and one of the means."""
    rows: list[Any] = [[Path(f.image).name, *_columns([f])] for f in figures]
    rows += [SEPARATING_LINE, ["mean", *_columns(figures)]]
    head = ["image", "PSNR fp32", "PSNR", "loss dB", "to fp32 dB", "routing equal %"]
    formats = ("", ".3f", ".3f", ".4f", ".2f", ".2f")
    return tabulate(rows, head, floatfmt=formats, missingval="-")


def _columns(figures: Sequence[ImageFigures]) -> list[float | None]:
    means = mean_figures(figures)
    names = ("psnr_fp32_db", "psnr_db", "psnr_loss_db", "fidelity_db")
    return [*(means[name] for name in names), 100 * fmean(f.routing_agreement for f in figures)]


def _layers(found: SearchResult) -> str:
    rows = [
        [row["name"], "yes" if row["quantised"] else "no", row["psnr_loss_db"], row["error"]]
        for row in as_rows(found)
    ]
    head = ["layer", "quantised", "loss alone dB", "error alone"]
    return tabulate(rows, head, floatfmt=("", "", ".4f", ".4f"), missingval="-")


def _speed(speed: Speed) -> str:
    height, width = speed.lr_size
    return (
        f"{width}x{height}, {speed.threads} threads, by {speed.engine}, medians of "
        f"{speed.rounds}: image graph "
        f"{speed.graph_fp32_ms:.1f} -> {speed.graph_ms:.1f} ms ({speed.graph_speedup:.2f}x), "
        f"whole call {speed.call_fp32_ms:.1f} -> {speed.call_ms:.1f} ms "
        f"({speed.call_speedup:.2f}x)"
    )
