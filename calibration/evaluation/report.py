"""Reports what an evaluation found: scores and their means as a table and as JSON."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import SEPARATING_LINE, tabulate

from pcsr.manifest import Kind
from pcsr.runtime.profiler.measuring.statistics import grouped

from .quoted import QuotedRow

_COLUMNS = {
    "image": "",
    "network": "",
    "method": "",
    "protocol": "",
    "PSNR RGB": ".3f",
    "PSNR Y": ".3f",
    "SSIM RGB": ".4f",
    "SSIM Y": ".4f",
    "heavy %": ".1f",
    "paper GFLOPs": ".3f",
    "real GMACs": ".3f",
    "time ms": ".1f",
}


@dataclass(frozen=True)
class Score:
    """Says how one method did on one image, or in the mean; a figure that it lacks is None."""

    image: str
    method: str
    psnr_rgb_db: float
    """Infinite for identical images."""
    psnr_y_db: float
    ssim_rgb: float
    """At most 1; nan below 11 px."""
    ssim_y: float
    heavy_percent: float | None = None
    paper_gflops: float | None = None
    """As the paper counts them."""
    gmacs: float | None = None
    """As the exported graphs execute them."""
    time_ms: float | None = None
    protocol: str = "image"
    """How images were cut and upscaled: image, cropped, or patches SIDE/STEP."""
    network: str = ""
    """The name of its network in the report; none for bicubic."""

    @property
    def kind(self) -> str:
        """The first word of the method: bicubic, plain, k, adaptive, heavy, preset, budget."""
        return re.split("[= ]", self.method)[0]

    @property
    def refinement(self) -> str:
        """The second word of the method: refined or unrefined, where both are compared."""
        return self.method.partition(" ")[2]


@dataclass(frozen=True)
class Network:
    """Says what was evaluated."""

    name: str
    bundle: str
    kind: Kind
    backbone: str
    upsamplers: int
    """M; 0 for a plain network."""
    parameters: int | None
    """None where an older bundle does not say."""


@dataclass(frozen=True)
class EvaluationReport:
    """Holds scores in the order of images and methods."""

    bundle: str
    scale: float
    border: int
    scores: tuple[Score, ...]
    failures: tuple[str, ...]
    """A line per image that could not be evaluated."""
    notes: tuple[str, ...]
    """A line per image whose alpha was left out, per network of another scale, and per backbone
    that nothing is quoted for."""
    networks: tuple[Network, ...] = ()
    """The plain ones first."""
    quoted: tuple[QuotedRow, ...] = ()
    """What others published, where that was asked for; no score is made of it."""
    lr: str = ""
    """Where the LR images come from."""
    patch_batch: int | None = None
    """How many patches share the statistics of a rule; None without patches."""

    @property
    def means(self) -> tuple[Score, ...]:
        """Takes the plain mean of each network, method and protocol over the images; none where no
        image was scored.
        """
        groups = grouped(self.scores, lambda score: (score.network, score.method, score.protocol))
        return tuple(map(_mean, groups.values()))

    @property
    def protocols(self) -> list[str]:
        """Names the protocols, in their order."""
        return list(dict.fromkeys(score.protocol for score in self.scores))

    @property
    def compares_networks(self) -> bool:
        """Tells whether several networks have the same methods, so that rows must name them."""
        kinds = [network.kind for network in self.networks]
        return len(set(kinds)) < len(kinds)

    def to_json(self) -> str:
        """Writes all fields and `means`. No figure and nan are null, infinity is "inf"."""
        report = asdict(self) | {
            "scores": [_json_figures(score) for score in self.scores],
            "means": [_json_figures(mean) for mean in self.means],
        }
        return json.dumps(report, indent=2, allow_nan=False) + "\n"


def format_table(report: EvaluationReport) -> str:
    """Formats a row per image, method and protocol, then the means, for a terminal. Networks are
    named where there are several, protocols where an image is not just compared whole.
    """
    hidden = set() if report.compares_networks else {"network"}
    hidden |= {"protocol"} if report.protocols == ["image"] else set()
    columns = {name: form for name, form in _COLUMNS.items() if name not in hidden}
    scored, means = (
        [[_cells(score)[name] for name in columns] for score in scores]
        for scores in (report.scores, report.means)
    )
    rows: list[Any] = [*scored, SEPARATING_LINE, *means]
    texts = sum(not form for form in columns.values())
    return tabulate(
        rows,
        list(columns),
        floatfmt=tuple(columns.values()),
        missingval="-",
        colalign=(*["left"] * texts, *["right"] * (len(columns) - texts)),
    )


def _cells(score: Score) -> dict[str, Any]:
    """Gives the cells of a score by the names of their columns."""
    figures = vars(score).copy()
    image, method = figures.pop("image"), figures.pop("method")
    protocol, network = figures.pop("protocol"), figures.pop("network")
    texts = (Path(image).name, network or None, method, protocol)
    return dict(zip(_COLUMNS, (*texts, *figures.values()), strict=True))


def _mean(scores: Sequence[Score]) -> Score:
    texts = ("image", "method", "protocol", "network")
    figures: dict[str, Any] = {}
    for figure in fields(Score):
        if figure.name not in texts:
            values = [getattr(score, figure.name) for score in scores]
            figures[figure.name] = None if None in values else float(np.mean(values))
    return replace(scores[0], image="mean", **figures)


def _json_figures(score: Score) -> dict[str, Any]:
    figures = asdict(score)
    for name, value in figures.items():
        if isinstance(value, float) and not math.isfinite(value):
            figures[name] = None if math.isnan(value) else "inf"
    return figures
