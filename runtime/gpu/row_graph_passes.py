"""The passes with the bundle's own graphs (classifier and upsamplers on lists of pixels), glued
with torch operations. The reference of the fused kernels, and the way without Triton.

One copy of M - 1 counts per band goes to the host, and of a heavy ratio one number more.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from pcsr.runtime.geometry.grid import Grid
from pcsr.runtime.mlps import Mlp

from . import statistics
from .engines.protocol import Engines
from .geometry import Band, DeviceGrid
from .images import converted
from .passes import Decision, Pixels, Scene, StageTimer


class GraphPasses:
    """For the networks of one bundle."""

    name = "graphs"
    finishing = "refinement"
    capturable = False

    def __init__(self, engines: Engines, mlps: Mapping[str, Mlp]) -> None:
        self._engines = engines
        self._least = engines.map_limits[0] if engines.map_limits else 0
        self.most_lr_pixels = engines.map_limits[1] if engines.map_limits else None
        self._count = sum(role != "classifier" for role in mlps)
        self._first = {
            role: torch.from_numpy(mlp.feature_weight.T.copy()).to(engines.device)
            for role, mlp in mlps.items()
        }
        self._maps: dict[str, Tensor] = {}
        self._base = torch.empty(0)
        self._counts: list[int] = []

    def open(self, grid: Grid) -> DeviceGrid:
        return DeviceGrid.of(grid, self._engines.device)

    def compose(self, scene: Scene, band: Band, pixels: Pixels, stage: StageTimer) -> None:
        with stage("backbone"):  # its last layer: the others' first
            self._maps = self._row_maps(scene.features[:, band.lr_rows])
        with stage("compose"):
            self._base = bilinear(scene, band.seen).reshape(-1, 3)
        canvas = pixels.canvas.view(-1, 3)
        lightest = f"upsampler_{self._count - 1}"
        for part in self._chunks(len(canvas)):
            with stage(lightest):
                picked = torch.arange(part.start, part.stop, device=canvas.device)
                canvas[part] = self._base[part] + self._run(lightest, scene, band, picked)
            if self._count > 1:
                with stage("classifier"):
                    pixels.logits[:, part] = self._run("classifier", scene, band, picked).T

    def decide(self, logits: Tensor, decision: Decision) -> None:
        logit = statistics.difficulty_logit(logits)
        if decision.routing == "ratio":
            decision.cut.copy_(statistics.ratio_cut(logit, int(decision.above)))
        else:
            clusters = len(decision.penalty)
            decision.bounds.copy_(statistics.adaptive_bounds(logit.sigmoid(), clusters))

    def route(self, pixels: Pixels, decision: Decision) -> None:
        adaptive = decision.routing == "adaptive"
        without_cut = adaptive or (decision.routing == "fixed" and self._count > 2)
        labels, difficulty = statistics.assign(
            pixels.logits,
            decision.penalty,
            None if without_cut else decision.cut,
            decision.bounds if adaptive else None,
        )
        pixels.labels.copy_(labels)
        pixels.difficulty.copy_(difficulty)
        counts = torch.stack([(labels == j).sum() for j in range(self._count - 1)])
        pixels.counts.copy_(counts)
        self._counts = counts.tolist()
        pixels.invalid.copy_((~pixels.logits.isfinite()).any(0).sum())

    def upsample(self, j: int, scene: Scene, band: Band, pixels: Pixels) -> None:
        canvas, count = pixels.canvas.view(-1, 3), self._counts[j]
        members = _members(pixels.labels == j, count)
        for part in self._chunks(count):
            picked = members[part]
            residual = self._run(f"upsampler_{j}", scene, band, picked)
            canvas[picked] = self._base[picked] + residual

    def finish(
        self, scene: Scene, band: Band, pixels: Pixels, refine_below: int, out: Tensor
    ) -> None:
        canvas = pixels.canvas
        inner = slice(band.kept.start - band.seen.start, band.kept.stop - band.seen.start)
        if refine_below:
            heavy = (pixels.labels < refine_below).view(canvas.shape[:2])
            canvas = refined(canvas, heavy)
        out.copy_(converted(canvas[inner], out.dtype))

    def _row_maps(self, features: Tensor) -> dict[str, Tensor]:
        """[pixels, C] by role, in the dtype of the features."""
        rows = features.flatten(1).T
        maps = {role: rows @ weight.to(rows.dtype) for role, weight in self._first.items()}
        missing = max(0, self._least - len(rows))
        return {role: F.pad(found, (0, 0, 0, missing)) for role, found in maps.items()}

    def _run(self, role: str, scene: Scene, band: Band, picked: Tensor) -> Tensor:
        grid: DeviceGrid = scene.opened
        width = scene.grid.hr_size[1]
        rows, columns = picked // width + band.seen.start, picked % width
        lr_rows = grid.rows.nearest[rows] - band.lr_rows.start
        index = lr_rows * scene.grid.lr_size[1] + grid.columns.nearest[columns]
        offset = torch.stack([grid.rows.offset[rows], grid.columns.offset[columns]], 1)
        return self._engines.rows(role, self._maps[role], index, offset, grid.cell)

    def _chunks(self, count: int) -> Iterator[slice]:
        step = self._engines.rows_limit
        return (slice(i, min(i + step, count)) for i in range(0, count, step))


def bilinear(scene: Scene, rows: slice) -> Tensor:
    """[n, W, 3] of some output rows; half-pixel centres, borders clamped."""
    y, x = scene.opened.rows, scene.opened.columns
    image = scene.image.permute(1, 2, 0)
    upper, lower = image[y.upper[rows].long()], image[y.lower[rows].long()]
    lines = lower + y.weight[rows, None, None] * (upper - lower)
    left, right = lines[:, x.lower.long()], lines[:, x.upper.long()]
    out: Tensor = left + (right - left) * x.weight[:, None]
    return out


def refined(canvas: Tensor, heavy: Tensor) -> Tensor:
    """[n, W, 3] with the 3x3 mean in place of light pixels beside heavy ones [n, W], but for the
    outermost ones.
    """
    height, width = heavy.shape
    if height < 3 or width < 3:
        return canvas
    near = F.max_pool2d(heavy[None].float(), 3, stride=1)[0] > 0
    changed = near & ~heavy[1:-1, 1:-1]
    lines = canvas[:-2] + canvas[1:-1] + canvas[2:]
    mean = (lines[:, :-2] + lines[:, 1:-1] + lines[:, 2:]) * (1 / 9)
    out = canvas.clone()
    out[1:-1, 1:-1] = torch.where(changed[..., None], mean, canvas[1:-1, 1:-1])
    return out


def _members(mask: Tensor, count: int) -> Tensor:
    """Indices [count] int64 of the pixels in a mask that is known to have so many."""
    place = mask.cumsum(0)
    place = torch.where(mask, place - 1, count)
    members = place.new_empty(count + 1)
    members.scatter_(0, place, torch.arange(len(mask), device=mask.device))
    return members[:count]
