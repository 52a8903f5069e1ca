"""Runs the training loop of a network that learns from another one."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pcsr.atomic import atomic_file
from pcsr.models import PCSR
from pcsr.models.checkpoint import read_checkpoint
from pcsr.training.config import Config
from pcsr.training.data import stream
from pcsr.training.sources.photos import Photo, load_photos
from pcsr.training.stages import StageNetwork, built
from pcsr.training.trainer import PREPARING, Progress, Trainer

from .comparison import compare
from .patches import Drawing, PatchBatches, Patches, draw_patches
from .settings import Distillation
from .student import StudentStage
from .teacher import Teacher

SAMPLES = (
    *("astronaut",) * 5, *("stereo_motorcycle",) * 2, *("camera",) * 2, "brick", "coins", "grass",
    "gravel", "immunohistochemistry", "page", "retina", "text",
)  # fmt: skip
HELD_OUT = ("chelsea", "coffee", "rocket")
COMPARISON = "comparison.md"
ALL_PIXELS = 2048  # drawn of a patch where the config does not say


class DistillingTrainer(Trainer):
    """Trains a network on the answers of another one, and on the originals."""

    held_out: Sequence[str] = HELD_OUT

    def __init__(
        self, config: Config, settings: Distillation, folder: Path, device: str = "cpu"
    ) -> None:
        self._settings = settings
        self._teacher = read_checkpoint(settings.teacher)
        self._patches: Patches | None = None
        super().__init__(config, folder, device)

    def run(self, report: Callable[[Progress], None]) -> Path:
        """Trains all remaining stages, and compares the result with the teacher; returns the
        finished checkpoint.
        """
        path = super().run(report)
        if self.rank == 0:
            photos = load_photos(self._config.data.validation, self.held_out)
            self.summary = compare(self._settings.teacher, path, photos, self._compared())
            with atomic_file(self._folder / COMPARISON, overwrite=True) as temporary:
                temporary.write_text(f"{self.summary}\n", encoding="utf-8")
        return path

    def _compared(self) -> list[float]:
        """Lists scales to compare at: the largest and the least that the teacher knows."""
        data, teacher = self._config.data, Teacher(self._teacher)
        return [s for s in sorted({data.scale, data.least_scale}, reverse=True) if teacher.knows(s)]

    def _checkpoint(self, network: StageNetwork) -> dict[str, Any]:
        """Notes that images are not refined: both upsamplers give what the teacher gives, so that
        there are no seams to smooth, and 3x3 pixels of a small scale are much.
        """
        return super()._checkpoint(network) | {"refine": False}

    def _stages(self) -> int:
        return min(2, len(self._config.network.upsamplers))  # of one upsampler none is chosen

    def _network(self, stage: int, before: PCSR | None) -> StudentStage:
        def build() -> StudentStage:
            return StudentStage(self._config, self._settings, stage, before)

        network = built(self._config, stage, build)
        if before is None:
            network.take_backbone(self._teacher)
        return network

    def _open_data(self) -> None:
        self._photos: list[Photo] = load_photos(self._config.data.photos, SAMPLES)

    def _batches(
        self, stage: int, done: int, network: StageNetwork, report: Callable[[Progress], None]
    ) -> Iterable[tuple[Tensor, ...]]:
        if self._patches is None:
            if not isinstance(network, StudentStage):
                raise TypeError(f"expected a student, found {type(network).__name__}")
            self._patches = self._drawn(network, report)
        data = self._config.data
        batches = PatchBatches(self._patches, data.batch, self._seed(stage))
        return stream(batches, done, self._iterations[stage], data.workers)

    def _drawn(self, network: StudentStage, report: Callable[[Progress], None]) -> Patches:
        """Draws the patches anew in every run: they depend on the seed alone."""
        data, count = self._config.data, self._settings.patches
        drawing = Drawing(
            count,
            max(data.patch_px),
            data.pixels_per_patch or ALL_PIXELS,
            (data.least_scale, data.scale),
        )

        def say(done: int) -> None:
            report(Progress(PREPARING, done, count, {}, {}))

        network.eval().cpu()
        seed = (self._config.seed, self.rank)
        teacher = Teacher(self._teacher)
        inputs = network.inputs if network.freezes else None
        patches = draw_patches(self._photos, drawing, teacher, inputs, seed, say)
        network.to(self._device)
        return patches

    def _in_bfloat16(self) -> bool:
        """Where the processor multiplies it: training is more than twice as fast there."""
        if self._device.type == "cpu":
            found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
            return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
        return super()._in_bfloat16()

    def _losses(
        self, outputs: tuple[Tensor, ...], chroma_weight: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        del chroma_weight
        residuals, probabilities, answer, original = outputs
        stage_0 = not probabilities.requires_grad
        if stage_0:
            errors = [self._error(one, answer, original) for one in residuals.unbind(dim=2)]
            names = [f"upsampler_{number}" for number in range(len(errors))]
            return sum(errors[1:], errors[0]), dict(zip(names, errors, strict=True))
        mixed = (residuals * probabilities[..., None]).sum(dim=2)
        error = self._error(mixed, answer, original)
        shares = share_loss(probabilities, self._settings.heavy_share)
        config = self._config
        loss = config.reconstruction_weight * error + config.average_weight * shares
        return loss, {"mixture": error, "shares": shares}

    def _error(self, residual: Tensor, answer: Tensor, original: Tensor) -> Tensor:
        """Weighs the mean absolute differences to the teacher's answer and to the original."""
        settings = self._settings
        of_teacher = (residual - answer).abs().mean() * settings.teacher_weight
        return of_teacher + (residual - original).abs().mean() * settings.original_weight


def share_loss(probabilities: Tensor, heavy_share: float) -> Tensor:
    """Measures how far the upsamplers [..., M], heaviest first, are from the shares of pixels that
    are aimed at: the mean over them of |share - aim| / aim. The lighter ones share the rest.
    """
    lighter = (1 - heavy_share) / (probabilities.shape[-1] - 1)
    aim = probabilities.new_full(probabilities.shape[-1:], lighter)
    aim[0] = heavy_share
    used = probabilities.flatten(0, -2).mean(dim=0)
    return ((used - aim).abs() / aim).mean()
