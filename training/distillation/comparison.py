"""Compares a trained network with its teacher, as both run when exported: quality and time."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from time import perf_counter

from tabulate import tabulate

from pcsr.export.exporter import ExportOptions, export_bundle
from pcsr.metrics import bicubic_resize, degrade, psnr
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.upscaler import Upscaler
from pcsr.training.sources.photos import Photo

ROUNDS = 3
HEADERS = ("scale", "network", "PSNR (dB)", "to the teacher", "time (ms)", "heavy pixels")
MODES = {
    "PCSR, all heavy": RoutingRequest(heavy_ratio=1.0),
    "PCSR, default": RoutingRequest(k=0.0),
    "PCSR, all light": RoutingRequest(heavy_ratio=0.0),
}


@dataclass(frozen=True)
class Row:
    """Holds what one network did at one scale: means over the photos."""

    scale: float
    network: str
    psnr_db: float
    time_ms: float | None
    """The median of interleaved calls."""
    heavy_share: float | None


@dataclass(frozen=True)
class _Contender:
    upscaler: Upscaler
    request: RoutingRequest

    def run(self, lr: Photo, scale: float) -> tuple[Photo, float, float]:
        """Returns the image, the share of heavy pixels and the time in ms."""
        start = perf_counter()
        result = self.upscaler.run(lr, scale, self.request)
        elapsed_ms = (perf_counter() - start) * 1e3
        return result.image, result.stats.heavy_share, elapsed_ms


def compare(teacher: Path, network: Path, photos: Sequence[Photo], scales: Sequence[float]) -> str:
    """Exports both checkpoints, upscales photos that were shrunk by bicubic, and returns a table in
    Markdown: mean RGB PSNR against the originals without a border of ceil(scale) pixels, and time
    on this machine's CPU.
    """
    with TemporaryDirectory() as folder:
        bundles = {name: Path(folder) / name for name in ("teacher", "network")}
        export_bundle(teacher, bundles["teacher"], ExportOptions())
        export_bundle(network, bundles["network"], ExportOptions())
        mine, theirs = Upscaler(bundles["network"]), Upscaler(bundles["teacher"])
        contenders = {"teacher": _Contender(theirs, RoutingRequest())}
        modes = MODES if mine.bundle.upsamplers > 1 else {"PCSR": RoutingRequest()}
        contenders |= {name: _Contender(mine, mode) for name, mode in modes.items()}
        rows = [row for scale in scales for row in _rows(contenders, photos, scale)]
    return table(rows)


def table(rows: Sequence[Row]) -> str:
    """Formats rows; the difference is that to the first network of the same scale."""
    lines = []
    for row in rows:
        teacher = next(other for other in rows if other.scale == row.scale)
        lines.append(
            (
                f"x{row.scale:g}",
                row.network,
                f"{row.psnr_db:.2f}",
                "" if row is teacher else f"{row.psnr_db - teacher.psnr_db:+.3f}",
                "" if row.time_ms is None else f"{row.time_ms:.0f}",
                "" if row.heavy_share is None else f"{row.heavy_share:.0%}",
            )
        )
    return tabulate(lines, HEADERS, tablefmt="github", disable_numparse=True)


def _rows(
    contenders: Mapping[str, _Contender], photos: Sequence[Photo], scale: float
) -> Iterator[Row]:
    pairs = [degrade(photo, scale) for photo in photos]
    border = math.ceil(scale)
    scores: dict[str, list[float]] = {name: [] for name in contenders}
    shares: dict[str, list[float]] = {name: [] for name in contenders}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for hr, lr in pairs:
        for name, contender in contenders.items():
            image, share, _ = contender.run(lr, scale)
            scores[name].append(psnr(image, hr, border))
            shares[name].append(share)
        for _ in range(ROUNDS):
            for name, contender in contenders.items():
                times[name].append(contender.run(lr, scale)[2])
    for name in contenders:
        routed = contenders[name].upscaler.bundle.upsamplers > 1
        heavy = fmean(shares[name]) if routed else None
        yield Row(scale, name, fmean(scores[name]), median(times[name]), heavy)
    bicubic = fmean(psnr(bicubic_resize(lr, *hr.shape[:2]), hr, border) for hr, lr in pairs)
    yield Row(scale, "bicubic", bicubic, None, None)
