"""Builds the network that learns from a teacher, in its training form.

Stage 0 trains all upsamplers and what lies before them, but for a frozen backbone; stage 1 the
classifier alone.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pcsr.errors import UsageError
from pcsr.models import PCSR, Extended, make_backbone
from pcsr.models.checkpoint import Checkpoint
from pcsr.models.liif import LiifUpsampler, UpsamplerSpec
from pcsr.training.config import Config
from pcsr.training.stages import StageNetwork, load_part

from .settings import Distillation


class StudentStage(StageNetwork):
    """Predicts what each upsampler adds to the bilinear image."""

    trained: PCSR

    def __init__(
        self, config: Config, settings: Distillation, stage: int, before: PCSR | None
    ) -> None:
        super().__init__(config, stage)
        what = config.network
        _refuse_other(what.upsamplers)
        backbone = make_backbone(what.backbone, what.backbone_args)
        self.trained = PCSR(
            backbone, what.upsamplers, what.classifier_widths, config.mean, config.std
        )
        self._taken = backbone.encoder if isinstance(backbone, Extended) else backbone
        self._is_extended = isinstance(backbone, Extended)
        self._has_taken = settings.prefix is not None
        self.freezes = settings.freeze and self._has_taken
        if before is not None:
            self.trained.load_state_dict(before.state_dict())
        self.trained.requires_grad_(stage == 0)
        if self.freezes:
            self._taken.requires_grad_(False)
        if len(self.trained.names) > 1:
            self.trained.classifier.requires_grad_(stage > 0)

    def take_backbone(self, teacher: Checkpoint) -> None:
        """Takes over the weights of the teacher's backbone, where the config says so.

        Raises:
            CheckpointError: a weight is missing there or has another shape; names it.
        """
        if self._has_taken:
            prefix = "encoder." if teacher.description.upsamplers else ""
            load_part(self._taken, teacher, prefix)

    def train(self, mode: bool = True) -> "StudentStage":
        """Keeps frozen parts in evaluation mode, or their BatchNorm statistics would drift."""
        super().train(mode)
        if self.freezes:
            self._taken.eval()
        if self.stage > 0:
            self.trained.encoder.eval()
        return self

    def inputs(self, lr: Tensor) -> Tensor:
        """Computes what is the same in all iterations: [B, 3, h, w], RGB in [0, 1] -> features of
        the frozen backbone [B, D, h, w], or the images themselves.
        """
        if not self.freezes:
            return lr
        features: Tensor = self._taken(self._normalised(lr))
        return features

    def forward(
        self, inputs: Tensor, index: Tensor, position: Tensor, answer: Tensor, original: Tensor
    ) -> tuple[Tensor, ...]:
        """Predicts at output pixels, of which `index` [B, Q] is the nearest input pixel in each
        patch, and `position` [B, Q, 4] the offset to it and the cell.

        inputs: [B, D, h, w], as `inputs` gives them.
        answer, original: [B, Q, 3], as `Patches` holds them.
        Returns the residual of each upsampler [B, Q, upsamplers, 3], heaviest first; the
        probabilities [B, Q, upsamplers], all equal in stage 0; the answer and the original. All
        residuals are normalised.
        """
        std = self.trained.std.flatten()
        return *self._predicted(inputs, index, position), answer / std, original / std

    def _predicted(self, inputs: Tensor, index: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.stage == 0):
            features = self._features(inputs.float())
            rows = features.permute(0, 2, 3, 1).flatten(0, 2)
            first = torch.arange(len(inputs), device=index.device) * inputs[0, 0].numel()
            index = (index.long() + first[:, None]).flatten()
            positions = position.flatten(0, 1)
            outputs = [_evaluated(u, rows, index, positions) for u in self.trained.upsamplers]
            residuals = torch.stack(outputs, dim=1).view(*position.shape[:2], len(outputs), 3)
        if self.stage == 0:
            return residuals, residuals.new_full(residuals.shape[:3], 1 / residuals.shape[2])
        logits = _evaluated(self.trained.classifier, rows, index, positions)
        return residuals, logits.softmax(dim=-1).flip(-1).view(*position.shape[:2], -1)

    def start_from(self, checkpoint: Checkpoint) -> None:
        """Takes over all weights of the same network."""
        load_part(self.trained, checkpoint)

    def model(self) -> dict[str, Any]:
        return {**self._config.model, "sd": self.saved.state_dict()}

    def _features(self, inputs: Tensor) -> Tensor:
        encoder = self.trained.encoder
        if not self.freezes:
            features: Tensor = encoder(self._normalised(inputs))
            return features
        return encoder.neck(inputs) if isinstance(encoder, Extended) else inputs


def _evaluated(upsampler: LiifUpsampler, rows: Tensor, index: Tensor, position: Tensor) -> Tensor:
    """Runs an upsampler with its first layer folded: the part of the features [P, D] is computed
    once per input pixel. index [N], position [N, 4] -> [N, outputs].
    """
    first, *hidden, last = upsampler.imnet.layers
    width = rows.shape[1]
    weight, bias = first.get_parameter("weight"), first.get_parameter("bias")
    own = nn.functional.linear(rows, weight[:, :width])
    place = nn.functional.linear(position, weight[:, width:], bias)
    x = own.index_select(0, index) + place.to(own.dtype)
    for layer in hidden:
        x = layer(x)
    with torch.autocast(x.device.type, enabled=False):  # of which small differences matter
        out: Tensor = last(x.float())
    return out


def _refuse_other(upsamplers: tuple[UpsamplerSpec, ...]) -> None:
    if not upsamplers:
        raise UsageError("a plain network cannot learn from a teacher; describe a PCSR as model")
    if any(spec != UpsamplerSpec(spec.widths) for spec in upsamplers):
        raise UsageError(
            "the upsamplers that learn from a teacher have one neighbour, a bilinear base and the "
            "cell, and unfold nothing; leave out base, local_ensemble, feat_unfold and cell_decode"
        )
