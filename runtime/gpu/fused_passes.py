"""The passes as fused Triton kernels: nothing in them waits for the device."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pcsr.errors import BackendError
from pcsr.runtime import kernels
from pcsr.runtime.geometry.device_grid import DeviceGrid
from pcsr.runtime.geometry.grid import Grid
from pcsr.runtime.kernels.convolutions.first_layers import first_layers
from pcsr.runtime.mlps import MlpWeights

from .bands import FrameBand
from .passes import Decision, FrameInputs, Pixels, StageTimer

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}  # int8 and fp8: of the backbone alone


def _refuse_wide(mlps: kernels.PackedMlps) -> None:
    channels = max((mlp.width for mlp in mlps.deep if mlp.a > kernels.WIDEST), default=0)
    if channels:
        raise BackendError(
            f"an MLP of this bundle has {channels} channels, padding included; the fused kernels "
            f"take blocks of up to {kernels.WIDEST} on GPUs, so 190 hidden channels: choose the "
            "passes 'graphs'"
        )


class FusedPasses:
    """Runs the MLPs of one bundle, in the precision of its features.

    Raises:
        BackendError: a GPU, and MLPs of more channels than its shared memory takes.
    """

    name = "fused"
    finishing = "finish"
    capturable = True
    most_lr_pixels: int | None = None

    def __init__(
        self, device: torch.device, precision: str, mlps: Mapping[str, MlpWeights]
    ) -> None:
        self._device = device
        self._mlps = kernels.PackedMlps.of(mlps, HALVES.get(precision, torch.float32), device)
        self._count = len(mlps) - ("classifier" in mlps)
        self._is_apart = len(self._mlps.upsamplers) == self._count
        if device.type == "cuda":
            _refuse_wide(self._mlps)
        self._inputs: kernels.BandInputs
        self._lists = torch.empty(0)

    def open(self, grid: Grid) -> tuple[DeviceGrid, Tensor]:
        return DeviceGrid.of(grid, self._device), self._mlps.constants(grid.cell)

    def compose(
        self, inputs: FrameInputs, band: FrameBand, pixels: Pixels, stage: StageTimer
    ) -> None:
        grid, constant = inputs.opened
        with stage("dense"):
            self._inputs = kernels.BandInputs(
                self._mlps,
                grid,
                first_layers(inputs.features, band.lr_rows, self._mlps.first_weight, constant),
                inputs.image,
                band.seen.start,
                band.lr_rows.start,
            )
            if self._count > 1 or not self._is_apart:
                logits = pixels.logits if self._count > 1 else None
                kernels.dense(self._inputs, pixels.canvas, logits)
        if self._is_apart:
            lightest = self._count - 1
            with stage(f"upsampler_{lightest}"):
                kernels.ensemble(self._inputs, lightest, None, pixels.canvas)

    def decide(self, logits: Tensor, decision: Decision) -> None:
        if decision.routing == "ratio":
            kernels.ratio_cut(logits, self._count, decision.above, decision.cut)
        else:
            kernels.adaptive_bounds(logits, self._count, decision.bounds)

    def route(self, pixels: Pixels, decision: Decision) -> None:
        size = len(pixels.labels)
        self._lists = pixels.labels.new_empty((self._count - 1, size), dtype=torch.int32)
        buffers = kernels.RoutingBuffers(
            pixels.labels, pixels.difficulty, self._lists, pixels.counts, pixels.invalid
        )
        rule = kernels.DeviceRule(self._count, decision.by, getattr(decision, decision.by))
        kernels.route(pixels.logits, rule, buffers)

    def upsample(self, j: int, inputs: FrameInputs, band: FrameBand, pixels: Pixels) -> None:
        pixel_list, count = self._lists[j], pixels.counts[j : j + 1]
        if self._mlps.upsamplers[j].is_usual:
            kernels.sparse(self._inputs, j, pixel_list, count, pixels.canvas)
        else:
            kernels.ensemble(self._inputs, j, (pixel_list, count), pixels.canvas)

    def finish(
        self, inputs: FrameInputs, band: FrameBand, pixels: Pixels, refine_below: int, out: Tensor
    ) -> None:
        rows, height = (band.inner.start, band.inner.stop), inputs.grid.hr_size[0]
        first = band.seen.start
        canvas, labels, invalid = pixels.canvas, pixels.labels, pixels.invalid
        kernels.finish(canvas, labels, rows, first, height, refine_below, out, invalid)
