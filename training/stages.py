"""The network of each stage. Stage j has j + 1 upsamplers and trains the last of them (and, from j
= 1 on, a new classifier); everything that earlier stages trained is frozen. Stage 0 trains the
backbone too.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pcsr.errors import CheckpointError, UsageError
from pcsr.models import PCSR, make_backbone
from pcsr.models.checkpoint import Description, describe
from pcsr.models.liif import pixel_centres, sample

from .config import Config


class StageNetwork(nn.Module):
    """The network of one stage in its training form."""

    def __init__(self, config: Config, stage: int, before: PCSR | None) -> None:
        super().__init__()
        torch.manual_seed(config.seed + stage)
        what = description(config)
        self.stage = stage
        self._scale = config.data.scale
        self.pcsr = PCSR(
            make_backbone(what.backbone, what.backbone_args),
            what.upsampler_widths[: stage + 1],
            what.classifier_widths if stage > 0 else None,
            config.mean,
            config.std,
        )
        if before is not None:
            self._take_over(before)

    def _take_over(self, before: PCSR) -> None:
        self.pcsr.encoder.load_state_dict(before.encoder.state_dict())
        for mine, theirs in zip(self.pcsr.upsamplers, before.upsamplers, strict=False):
            mine.load_state_dict(theirs.state_dict())
        for module in (self.pcsr.encoder, *self.pcsr.upsamplers[:-1]):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "StageNetwork":
        """Frozen parts stay in evaluation mode, or their BatchNorm statistics would drift."""
        super().train(mode)
        if self.stage > 0:
            self.pcsr.encoder.eval()
        return self

    def forward(self, lr: Tensor, drawn: Tensor, colours: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """lr [B, 3, p, p] in [0, 1], drawn [Q] flat output pixels, their colours [B, Q, 3].

        Returns the predicted residual and the true one, both [B, Q, 3] and normalised, and the
        probabilities [B, Q, stage + 1].
        """
        network = self.pcsr
        side = round(lr.shape[-1] * self._scale)
        normalised = (lr - network.mean) / network.std
        centres = pixel_centres((side, side), lr.device).view(1, -1, 2)
        query = centres[:, drawn].expand(lr.shape[0], -1, -1)
        cell = torch.full((2,), 2 / side, device=lr.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.stage == 0):
            features = network.encoder(normalised)
        residuals = torch.stack([u(features, query, cell) for u in network.upsamplers], dim=-1)
        probabilities = self._probabilities(features, query, cell)
        predicted = (residuals * probabilities[:, :, None]).sum(dim=-1)
        true = (colours - network.mean.flatten()) / network.std.flatten()
        return predicted, true - sample(normalised, query, "bilinear"), probabilities

    def _probabilities(self, features: Tensor, query: Tensor, cell: Tensor) -> Tensor:
        if self.stage == 0:
            return features.new_ones(*query.shape[:2], 1)
        return F.softmax(self.pcsr.classifier(features, query, cell), dim=-1).flip(-1)


def description(config: Config) -> Description:
    """The finished network that a config asks for.

    Raises:
        UsageError: the model of the config is not a PCSR network.
    """
    try:
        what = describe(str(config.model["name"]), config.model["args"])
    except (KeyError, CheckpointError) as error:
        raise UsageError(f"the model of the config is not complete: {error}") from error
    if not what.upsampler_widths:
        raise UsageError(f"expected a PCSR model (pcsr-phase1, pcsr, …), found '{what.backbone}'")
    return what


def stage_model(config: Config, stage: int, network: PCSR) -> dict[str, Any]:
    """The `model` entry of a checkpoint of the network as it is after (or within) a stage."""
    args: Mapping[str, Any] = config.model["args"]
    samplers = args.get("sampler_specs") or [
        args[key] for key in ("heavy_sampler_spec", "light_sampler_spec") if key in args
    ]
    kept: dict[str, Any] = {"encoder_spec": args["encoder_spec"]}
    if stage > 0:
        kept["classifier_spec"] = args["classifier_spec"]
    if stage < 2:
        names = ("heavy_sampler_spec", "light_sampler_spec")
        kept |= dict(zip(names, samplers[: stage + 1], strict=False))
    else:
        kept["sampler_specs"] = samplers[: stage + 1]
    name = ("pcsr-phase0", "pcsr-phase1")[stage] if stage < 2 else "pcsr"
    return {"name": name, "args": kept, "sd": network.state_dict()}
