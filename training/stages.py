"""Builds the network of each training stage. Stage j has j + 1 upsamplers and trains the last of
them (and, from j = 1 on, a new classifier); everything that earlier stages trained is frozen. Stage
0 trains the backbone too. A plain network has one stage.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pcsr.errors import CheckpointError, UsageError
from pcsr.models import PCSR, PlainNetwork, make_backbone
from pcsr.models.checkpoint import Checkpoint
from pcsr.models.liif import pixel_centres, sample
from pcsr.models.pcsr import sampler_names
from pcsr.models.plain import tail_scale
from pcsr.models.values import shown_error
from pcsr.models.weights import SizeLimit, fitted, no_larger_than

from .config import Config

FINISHED = "network.pth"
PUBLISHED_NAMES = ("pcsr-phase0", "pcsr-phase1")  # of one and two upsamplers; "pcsr" of more

Built = TypeVar("Built", bound="StageNetwork")
LARGEST = SizeLimit(2**27, 20_000, "any that can be trained (2^27 numbers, 20,000 tensors)")


class StageNetwork(nn.Module, ABC):
    """Holds the network of one training stage in its training form."""

    trained: PCSR | PlainNetwork
    """The network as it is used afterwards."""

    def __init__(self, config: Config, stage: int) -> None:
        super().__init__()
        self.stage = stage
        self._config = config

    @abstractmethod
    def start_from(self, checkpoint: Checkpoint) -> None:
        """Takes over the weights of another network, at the beginning of a run.

        Raises:
            CheckpointError: a weight is missing there or has another shape; names it.
        """

    @property
    def saved(self) -> nn.Module:
        """The module whose weights a checkpoint holds."""
        return self.trained if isinstance(self.trained, PCSR) else self.trained.network

    @abstractmethod
    def model(self) -> dict[str, Any]:
        """The `model` entry of a checkpoint of the network as it is now."""

    def _normalised(self, image: Tensor) -> Tensor:
        """Normalises an image [B, 3, h, w]."""
        return (image - self.trained.mean) / self.trained.std

    def _true(self, colours: Tensor) -> Tensor:
        return (colours - self.trained.mean.flatten()) / self.trained.std.flatten()


class PlainStage(StageNetwork):
    """Predicts colours with a plain network that has its own tail."""

    trained: PlainNetwork

    def __init__(self, config: Config) -> None:
        super().__init__(config, 0)
        network = make_backbone(config.network.backbone, config.network.backbone_args)
        try:
            scale = tail_scale(network)
        except ValueError as error:
            raise UsageError(
                f"model '{config.network.backbone}' is neither PCSR nor a plain network: {error}"
            ) from error
        if scale != config.data.scale:
            raise UsageError(f"the network upscales x{scale}, the data x{config.data.scale:g}")
        self.trained = PlainNetwork(network, scale, config.mean, config.std)

    def forward(self, lr: Tensor, drawn: Tensor, colours: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predicts as `PcsrStage` does; all probabilities are 1."""
        image = self.trained.network(self._normalised(lr))
        predicted = image.flatten(2)[..., drawn].transpose(1, 2)
        return predicted, self._true(colours), predicted.new_ones(*predicted.shape[:2], 1)

    def start_from(self, checkpoint: Checkpoint) -> None:
        load_part(self.trained.network, checkpoint)

    def model(self) -> dict[str, Any]:
        return {**self._config.model, "sd": self.saved.state_dict()}


class PcsrStage(StageNetwork):
    """Predicts residuals: each pixel mixes the upsamplers by their probabilities (section 3.4)."""

    trained: PCSR

    def __init__(self, config: Config, stage: int, before: PCSR | None) -> None:
        super().__init__(config, stage)
        what = config.network
        self._scale = config.data.scale
        self.trained = PCSR(
            make_backbone(what.backbone, what.backbone_args),
            what.upsamplers[: stage + 1],
            what.classifier_widths if stage > 0 else None,
            config.mean,
            config.std,
        )
        if before is not None:
            self.trained.encoder.load_state_dict(before.encoder.state_dict())
            for mine, theirs in zip(self.trained.upsamplers, before.upsamplers, strict=False):
                mine.load_state_dict(theirs.state_dict())
        if stage == 0:
            return
        for module in (self.trained.encoder, *self.trained.upsamplers[:-1]):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "PcsrStage":
        """Keeps frozen parts in evaluation mode, or their BatchNorm statistics would drift."""
        super().train(mode)
        if self.stage > 0:
            self.trained.encoder.eval()
        return self

    def forward(self, lr: Tensor, drawn: Tensor, colours: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predicts from lr [B, 3, p, p] in [0, 1] at drawn [Q] output pixels of colours [B, Q, 3].

        Returns what is predicted and what is true, both [B, Q, 3] and normalised, and the
        probabilities [B, Q, upsamplers].
        """
        side = round(lr.shape[-1] * self._scale)
        normalised = self._normalised(lr)
        centres = pixel_centres((side, side), lr.device).view(1, -1, 2)
        query = centres[:, drawn].expand(lr.shape[0], -1, -1)
        cell = torch.full((2,), 2 / side, device=lr.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.stage == 0):
            features = self.trained.encoder(normalised)
        residuals = [u(features, query, cell) for u in self.trained.upsamplers]
        probabilities = self.trained.probabilities(features, [query], cell)
        predicted = (torch.stack(residuals, dim=-1) * probabilities[:, :, None]).sum(dim=-1)
        true = self._true(colours) - sample(normalised, query, "bilinear")
        return predicted, true, probabilities

    def start_from(self, checkpoint: Checkpoint) -> None:
        """Takes over the backbone, and from another PCSR the upsamplers that this stage does not
        add; at stage 0 the heaviest.

        Raises:
            CheckpointError: a weight is missing there or has another shape, or it has too few
                upsamplers; names it.
        """
        names = sampler_names(len(checkpoint.description.upsamplers))
        if len(names) < self.stage:
            raise CheckpointError(
                f"{checkpoint.path} has {len(names)} upsamplers; phase {self.stage} starts from "
                f"the {self.stage} that phase {self.stage - 1} trained"
            )
        load_part(self.trained.encoder, checkpoint, "encoder." if names else "")
        for mine, name in zip(self.trained.upsamplers[: max(1, self.stage)], names, strict=False):
            load_part(mine, checkpoint, f"{name}.")

    def model(self) -> dict[str, Any]:
        args = self._config.model["args"]
        names = ("heavy_sampler_spec", "light_sampler_spec")
        samplers = args.get("sampler_specs") or [args[name] for name in names if name in args]
        samplers = samplers[: self.stage + 1]
        kept = {"encoder_spec": args["encoder_spec"]}
        if self.stage > 0:
            kept["classifier_spec"] = args["classifier_spec"]
        if self.stage < len(PUBLISHED_NAMES):
            name = PUBLISHED_NAMES[self.stage]
            kept |= dict(zip(names, samplers, strict=False))
        else:
            name = "pcsr"
            kept["sampler_specs"] = samplers
        return {"name": name, "args": kept, "sd": self.saved.state_dict()}


def stage_network(config: Config, stage: int, before: PCSR | None) -> StageNetwork:
    """Builds the network of a training stage, its new parts initialised from the seed.

    before: the finished network of the stage before, None for stage 0.

    Raises:
        CheckpointError: the backbone is unknown or cannot be built from its arguments.
        UsageError: a plain network whose scale is not that of the data.
    """
    what = config.network
    return built(
        config,
        stage,
        lambda: PcsrStage(config, stage, before) if what.upsamplers else PlainStage(config),
    )


def iterations_per_stage(config: Config, stages: int) -> tuple[int, ...]:
    """Gives the iterations of each of a network's stages.

    Raises:
        UsageError: `iter_max` has neither one number nor one per stage.
    """
    if len(config.iterations) not in (1, stages):
        raise UsageError(
            f"iter_max has {len(config.iterations)} numbers for {stages} stages; give one for "
            "all, or one for each"
        )
    return config.iterations if len(config.iterations) == stages else config.iterations * stages


def trained_stages(config: Config, stages: int) -> range:
    """Gives the stages of `stages` that a config trains: that of its phase, or all.

    Raises:
        UsageError: the network has no such stage.
    """
    phase = config.phase
    if phase is None:
        return range(stages)
    if phase >= stages:
        raise UsageError(
            f"phase is {phase}, but the network '{config.model['name']}' has {stages} of them, "
            f"counted from 0; set phase to {stages - 1} or less, or name a model with more "
            "upsamplers"
        )
    return range(phase, phase + 1)


def start_path(config: Config, folder: Path) -> Path | None:
    """Names the checkpoint that a run into `folder` starts from: `init_path`; in a later phase
    else, as published, the result in the folder whose name ends with the phase before it.

    Raises:
        UsageError: a later phase, and neither is there.
    """
    if config.start_from is not None or not config.phase:
        return config.start_from
    whole, before = Path(os.path.abspath(folder)), config.phase - 1
    if not whole.name.endswith(str(config.phase)):
        raise UsageError(
            f"phase {config.phase} starts from the network of phase {before}; name its checkpoint "
            f"by --set init_path=CKPT, or the folders by their phases, as run-{before} and "
            f"run-{config.phase}"
        )
    path = whole.with_name(f"{whole.name.removesuffix(str(config.phase))}{before}") / FINISHED
    if not path.is_file():
        raise UsageError(
            f"phase {config.phase} starts from the network of phase {before}, and {path} is not "
            f"there; train phase {before} into {path.parent}, or name its checkpoint by "
            "--set init_path=CKPT"
        )
    return path


def built(config: Config, stage: int, build: Callable[[], Built]) -> Built:
    """Builds a stage's network with its initialisation from the seed, and within the largest size.

    Raises:
        CheckpointError: the network of the config cannot be built.
    """
    torch.manual_seed(config.seed + stage)
    what = config.network
    widths = [*(u.widths for u in what.upsamplers), what.classifier_widths or ()]
    try:
        with no_larger_than(LARGEST):
            LARGEST.check_widths([width for mlp in widths for width in mlp])
            return build()
    except (ValueError, RuntimeError, TypeError, MemoryError) as error:
        raise CheckpointError(
            f"the config's network '{what.backbone}' cannot be built: {shown_error(error)}"
        ) from error


def load_part(part: nn.Module, checkpoint: Checkpoint, prefix: str = "") -> None:
    """Loads every weight of a module from those of a checkpoint whose names begin with `prefix`.

    Raises:
        CheckpointError: a weight is missing there or has another shape; names it.
    """
    taken = {}
    own = part.state_dict()
    weights = fitted(checkpoint.path, checkpoint.weights, {f"{prefix}{name}" for name in own})
    for name, weight in own.items():
        found = weights.get(f"{prefix}{name}")
        if found is None or found.shape != weight.shape:
            shape = "nothing" if found is None else list(found.shape)
            raise CheckpointError(
                f"{checkpoint.path} does not hold this network: {prefix}{name} should be "
                f"{list(weight.shape)}, found {shape}"
            )
        taken[name] = found
    part.load_state_dict(taken)
