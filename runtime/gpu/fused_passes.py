"""The passes as fused Triton kernels: nothing in them waits for the device."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pcsr.runtime import kernels
from pcsr.runtime.geometry.grid import Grid
from pcsr.runtime.mlps import Mlp

from .geometry import Band
from .passes import Decision, Pixels, Scene, StageTimer

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
DTYPES |= {"int8": torch.float32, "fp8": torch.float32}  # quantised in the backbone alone
PROGRAMS_PER_MULTIPROCESSOR = 4


@dataclass(frozen=True)
class Opened:
    """What the kernels need of an output size. constant: [S] float32."""

    axes: kernels.DeviceAxes
    constant: Tensor


class FusedPasses:
    """For the MLPs of one bundle, in the precision of its features."""

    name = "fused"
    finishing = "finish"
    capturable = True
    most_lr_pixels: int | None = None

    def __init__(self, device: torch.device, precision: str, mlps: Mapping[str, Mlp]) -> None:
        self._device = device
        self._mlps = kernels.PackedMlps.of(mlps, DTYPES[precision], device)
        self._count = len(self._mlps.upsamplers)
        self._programs = PROGRAMS_PER_MULTIPROCESSOR * _multiprocessors(device)
        self._pre, self._lists = torch.empty(0), torch.empty(0)

    def open(self, grid: Grid) -> Opened:
        axes = kernels.DeviceAxes.of(grid, self._device)
        return Opened(axes, self._mlps.constants(grid.cell))

    def compose(self, scene: Scene, band: Band, pixels: Pixels, stage: StageTimer) -> None:
        with stage("dense"):
            self._pre = scene.features[:, band.lr_rows].flatten(1).T @ self._mlps.first_weight
            kernels.dense(
                _window(scene, band),
                self._mlps,
                self._pre,
                scene.opened.constant,
                scene.image,
                pixels.canvas,
                pixels.logits if self._count > 1 else None,
            )

    def decide(self, logits: Tensor, decision: Decision) -> None:
        by_ratio = decision.routing == "ratio"
        difficulty = logits.new_empty(logits.shape[1])
        kernels.difficulties(logits, self._count, difficulty, as_logit=by_ratio)
        if by_ratio:
            decision.cut.copy_(kernels.select([difficulty], decision.above))
            return
        low, high = difficulty.aminmax()
        table = kernels.empty_table(self._device)
        kernels.histogram(difficulty, low, high, table)
        decision.bounds.copy_(kernels.lloyd(table, low, high, self._count))

    def route(self, pixels: Pixels, decision: Decision) -> None:
        size = len(pixels.labels)
        self._lists = pixels.labels.new_empty((self._count - 1, size), dtype=torch.int32)
        pixels.invalid.zero_()
        routed = kernels.Routed(
            pixels.labels, pixels.difficulty, self._lists, pixels.counts, pixels.invalid
        )
        kernels.route(pixels.logits, _rule(decision, self._count), routed)

    def upsample(self, j: int, scene: Scene, band: Band, pixels: Pixels) -> None:
        kernels.sparse(
            _window(scene, band),
            self._mlps,
            j,
            self._pre,
            scene.opened.constant,
            scene.image,
            self._lists[j],
            pixels.counts[j : j + 1],
            pixels.canvas,
            self._programs,
        )

    def finish(
        self, scene: Scene, band: Band, pixels: Pixels, refine_below: int, out: Tensor
    ) -> None:
        first = band.seen.start
        rows = (band.kept.start - first, band.kept.stop - first)
        height = scene.grid.hr_size[0]
        kernels.finish(pixels.canvas, pixels.labels, rows, first, height, refine_below, out)


def _window(scene: Scene, band: Band) -> kernels.Window:
    return kernels.Window(scene.opened.axes, band.seen.start, band.lr_rows.start)


def _rule(decision: Decision, count: int) -> kernels.DeviceRule:
    if decision.routing == "adaptive":
        return kernels.DeviceRule(count, "bounds", decision.bounds)
    if decision.routing == "fixed" and count > 2:
        return kernels.DeviceRule(count, "costs", decision.penalty)
    return kernels.DeviceRule(count, "cut", decision.cut)


def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count
