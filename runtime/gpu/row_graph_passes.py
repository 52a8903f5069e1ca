"""The passes with the bundle's own graphs (classifier and upsamplers on lists of pixels), glued
with torch operations. They are the reference of the fused kernels, and the way without Triton.

One copy of M - 1 counts per band goes to the host; of a heavy ratio one number more, and of ADM a
histogram.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from pcsr.runtime.geometry.device_grid import DeviceGrid
from pcsr.runtime.geometry.grid import Grid
from pcsr.runtime.mlps import MlpWeights

from . import routing
from .bands import FrameBand
from .images import converted
from .passes import Decision, FrameInputs, Pixels, StageTimer
from .runners.protocol import DeviceRunner


class RowGraphPasses:
    """Runs the row graphs of one bundle."""

    name = "graphs"
    finishing = "refinement"
    capturable = False

    def __init__(self, runner: DeviceRunner, mlps: Mapping[str, MlpWeights]) -> None:
        self._runner = runner
        self._upsamplers = [mlp for role, mlp in mlps.items() if role != "classifier"]
        self._least = runner.map_limits[0] if runner.map_limits else 0
        self.most_lr_pixels = runner.map_limits[1] if runner.map_limits else None
        self._count = len(self._upsamplers)
        self._first = {
            role: torch.from_numpy(mlp.feature_weight.T.copy()).to(runner.device)
            for role, mlp in mlps.items()
        }
        self._maps: dict[str, Tensor] = {}
        self._base = torch.empty(0)
        self._counts: list[int] = []

    def open(self, grid: Grid) -> DeviceGrid:
        return DeviceGrid.of(grid, self._runner.device)

    def compose(
        self, inputs: FrameInputs, band: FrameBand, pixels: Pixels, stage: StageTimer
    ) -> None:
        with stage("backbone"):  # its last layer: the others' first
            self._maps = self._row_maps(inputs.features[:, band.lr_rows])
        if any(upsampler.base == "bilinear" for upsampler in self._upsamplers):
            with stage("compose"):
                self._base = bilinear(inputs, band.seen).reshape(-1, 3)
        canvas = pixels.canvas.view(-1, 3)
        lightest = self._count - 1
        for part in self._chunks(len(canvas), lightest):
            with stage(f"upsampler_{lightest}"):
                picked = torch.arange(part.start, part.stop, device=canvas.device)
                residual = self._residual(lightest, inputs, band, picked)
                canvas[part] = self._with_base(lightest, residual, part)
            if self._count > 1:
                with stage("classifier"):
                    pixels.logits[:, part] = self._run("classifier", inputs, band, picked).T

    def decide(self, logits: Tensor, decision: Decision) -> None:
        logit = routing.difficulty_logit(logits)
        if decision.routing == "ratio":
            decision.cut.copy_(routing.ratio_cut(logit, int(decision.above)))
        else:
            clusters = len(decision.penalty)
            decision.bounds.copy_(routing.adaptive_bounds(logit.sigmoid(), clusters))

    def route(self, pixels: Pixels, decision: Decision) -> None:
        labels, difficulty = routing.assign(pixels.logits, decision)
        pixels.labels.copy_(labels)
        pixels.difficulty.copy_(difficulty)
        counts = torch.stack([(labels == j).sum() for j in range(self._count - 1)])
        pixels.counts.copy_(counts)
        self._counts = counts.tolist()
        pixels.invalid.add_((~pixels.logits.isfinite()).any(0).sum())

    def upsample(self, j: int, inputs: FrameInputs, band: FrameBand, pixels: Pixels) -> None:
        canvas, count = pixels.canvas.view(-1, 3), self._counts[j]
        members = _members(pixels.labels == j, count)
        for part in self._chunks(count, j):
            picked = members[part]
            residual = self._residual(j, inputs, band, picked)
            canvas[picked] = self._with_base(j, residual, picked)

    def finish(
        self, inputs: FrameInputs, band: FrameBand, pixels: Pixels, refine_below: int, out: Tensor
    ) -> None:
        canvas = pixels.canvas
        pixels.invalid.add_(~canvas[band.inner].isfinite().all())
        if refine_below:
            heavy = (pixels.labels < refine_below).view(canvas.shape[:2])
            canvas = refined(canvas, heavy)
        out.copy_(converted(canvas[band.inner], out.dtype))

    def _row_maps(self, features: Tensor) -> dict[str, Tensor]:
        """Computes the row maps [pixels, C] by role, in the dtype of the features."""
        rows = features.flatten(1).T
        maps = {role: rows @ weight.to(rows.dtype) for role, weight in self._first.items()}
        missing = max(0, self._least - len(rows))
        return {role: F.pad(found, (0, 0, 0, missing)) for role, found in maps.items()}

    def _residual(self, j: int, inputs: FrameInputs, band: FrameBand, picked: Tensor) -> Tensor:
        neighbours = self._upsamplers[j].neighbours
        return self._run(f"upsampler_{j}", inputs, band, picked, neighbours)

    def _with_base(self, j: int, residual: Tensor, picked: Tensor | slice) -> Tensor:
        if self._upsamplers[j].base == "none":
            return residual
        return self._base[picked] + residual

    def _run(
        self, role: str, inputs: FrameInputs, band: FrameBand, picked: Tensor, neighbours: int = 1
    ) -> Tensor:
        grid: DeviceGrid = inputs.opened
        width = inputs.grid.hr_size[1]
        rows, columns = picked // width + band.seen.start, picked % width
        lr_width, top = inputs.grid.lr_size[1], band.lr_rows.start
        index, offset = grid.locate(rows, columns, lr_width, top, neighbours)
        return self._runner.rows(role, self._maps[role], index, offset, grid.cell)

    def _chunks(self, count: int, j: int) -> Iterator[slice]:
        step = max(1, self._runner.rows_limit // self._upsamplers[j].neighbours)
        return (slice(i, min(i + step, count)) for i in range(0, count, step))


def bilinear(inputs: FrameInputs, rows: slice) -> Tensor:
    """Interpolates some output rows [n, W, 3]: pixel centres lie at halves, borders are clamped."""
    grid: DeviceGrid = inputs.opened
    image = inputs.image.permute(1, 2, 0)
    lower, upper = (image[place] for place in grid.rows.places[1:3, rows].long())
    lines = lower + grid.rows.shares[1, rows, None, None] * (upper - lower)
    left, right = (lines[:, place] for place in grid.columns.places[1:3].long())
    out: Tensor = left + (right - left) * grid.columns.shares[1, :, None]
    return out


def refined(canvas: Tensor, heavy: Tensor) -> Tensor:
    """Puts the 3x3 mean in place of light pixels beside heavy ones, but for the outermost ones
    (paper section 3.4). canvas, result: [n, W, 3]; heavy: [n, W].
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
    """Lists the pixels in a mask that is known to have `count`: indices [count] int64."""
    place = mask.cumsum(0)
    place = torch.where(mask, place - 1, count)
    members = place.new_empty(count + 1)
    members.scatter_(0, place, torch.arange(len(mask), device=mask.device))
    return members[:count]
