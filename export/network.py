"""Builds the PyTorch network that a checkpoint describes, and loads its weights."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pcsr.errors import CheckpointError, UsageError
from pcsr.models import PCSR, PlainNetwork, make_backbone
from pcsr.models.checkpoint import Checkpoint
from pcsr.models.plain import LARGEST_SCALE, tail_scale
from pcsr.models.recognition.spandrel_networks import PREFIX, build_spandrel_network
from pcsr.models.registry import BLACK, WHITE, Rgb, checked_rgb, normalisation, parse_rgb
from pcsr.models.values import SHOWN, read_yaml, shown, shown_error
from pcsr.models.weights import SizeLimit, fitted, no_larger_than

PUBLISHED_SCALE = 4.0


@dataclass(frozen=True)
class NetworkSettings:
    """Says what published checkpoints do not. None stands for what the checkpoint's training noted,
    else for the published default of the backbone.
    """

    mean: Rgb | None = None
    """RGB in [0, 1], subtracted before the first convolution."""
    std: Rgb | None = None
    """RGB in [0, 1], divided by after that."""
    trained_scale: float | None = None
    """The scale used where a command is given none."""


def read_config(path: Path) -> NetworkSettings:
    """Reads settings from a training config in the published YAML format (`data_norm`, `scale`).

    Raises:
        UsageError: the file is missing, not YAML, or its values have the wrong form.
    """
    try:
        return _settings(read_yaml(path))
    except OSError as error:
        raise UsageError(f"config {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise UsageError(
            f"config {path} is not in the published format (data_norm, scale): {shown_error(error)}"
        ) from error


def filled(settings: NetworkSettings, defaults: NetworkSettings) -> NetworkSettings:
    """Takes settings that are not set from `defaults`."""
    return NetworkSettings(
        mean=settings.mean or defaults.mean,
        std=settings.std or defaults.std,
        trained_scale=settings.trained_scale or defaults.trained_scale,
    )


def completed(settings: NetworkSettings, checkpoint: Checkpoint) -> NetworkSettings:
    """Fills up settings with what the training noted in the checkpoint.

    Raises:
        CheckpointError: what it noted is not three numbers, or not a scale.
    """
    try:
        return filled(settings, _settings(checkpoint.training))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: data_norm or scale: {shown_error(error)}"
        ) from error


def build_network(checkpoint: Checkpoint, settings: NetworkSettings) -> PCSR | PlainNetwork:
    """Builds the network in evaluation mode, with the weights of the checkpoint (strictly matched).

    Raises:
        CheckpointError: unknown backbone, or missing, misshapen or left-over weights.
    """
    path, what = checkpoint.path, checkpoint.description
    if what.backbone.startswith(PREFIX) and not what.upsamplers:
        return _spandrel_network(checkpoint, settings)
    with _blamed_on(f"{path}"):
        mean, std = normalisation(what.backbone, settings.mean, settings.std)
    limit = SizeLimit.of_weights(checkpoint.weights)
    with warnings.catch_warnings(action="ignore"), no_larger_than(limit):
        with _blamed_on(f"{path}"):
            backbone = make_backbone(what.backbone, what.backbone_args)
        if what.upsamplers:
            widths = [*(u.widths for u in what.upsamplers), what.classifier_widths or ()]
            with _blamed_on(f"{path}"):
                limit.check_widths([one for mlp in widths for one in mlp])
            with _blamed_on(f"{path}: backbone '{what.backbone}'"):
                pcsr = PCSR(backbone, what.upsamplers, what.classifier_widths, mean, std)
            _load_strictly(pcsr, checkpoint)
            return pcsr.eval().requires_grad_(False)
        with _blamed_on(f"{path} is neither a PCSR network nor a plain one: '{what.backbone}'"):
            plain = PlainNetwork(backbone, tail_scale(backbone), mean, std)
        _load_strictly(plain.network, checkpoint)
        return plain.eval().requires_grad_(False)


def _spandrel_network(checkpoint: Checkpoint, settings: NetworkSettings) -> PlainNetwork:
    mean, std = checked_rgb(settings.mean or BLACK, settings.std or WHITE)
    with _blamed_on(f"{checkpoint.path}"):
        network, scale = build_spandrel_network(checkpoint.description.backbone, checkpoint.weights)
    return PlainNetwork(network, scale, mean, std).eval().requires_grad_(False)


@contextmanager
def _blamed_on(what: str) -> Iterator[None]:
    """Raises CheckpointError, beginning with `what`, for what a network in the body refuses."""
    refusals = (ValueError, RuntimeError, TypeError, ArithmeticError, LookupError, MemoryError)
    try:
        yield
    except (CheckpointError, *refusals) as error:
        raise CheckpointError(f"{what}: {shown_error(error)}") from error


def trained_scale(network: PCSR | PlainNetwork, settings: NetworkSettings) -> float:
    """Returns the scale that a network was trained for: its tail's, the config's, or 4."""
    if isinstance(network, PlainNetwork):
        return float(network.scale)
    return settings.trained_scale or PUBLISHED_SCALE


def refines(checkpoint: Checkpoint) -> bool:
    """Tells whether images are refined where nobody says: yes, unless training noted otherwise.

    Raises:
        CheckpointError: what it noted is neither true nor false.
    """
    noted = checkpoint.training.get("refine", True)
    if not isinstance(noted, bool):
        raise CheckpointError(
            f"{checkpoint.path}: refine is {shown(noted)}, expected true or false"
        )
    return noted


def _load_strictly(module: nn.Module, checkpoint: Checkpoint) -> None:
    expected = module.state_dict()
    found = fitted(checkpoint.path, checkpoint.weights, expected)
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [
        f"{name[:SHOWN]} is not part of the network" for name in found if name not in expected
    ]
    problems += [
        f"{name} has shape {list(found[name].shape)} instead of {list(weight.shape)}"
        for name, weight in expected.items()
        if name in found and found[name].shape != weight.shape
    ]
    problems += [
        f"{name} holds {found[name].dtype} instead of real numbers"
        for name, weight in expected.items()
        if name in found and weight.is_floating_point() and not found[name].is_floating_point()
    ]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{checkpoint.path}: the weights do not fit the network it describes: "
            f"{'; '.join(problems[:3])}{more}"
        )
    module.load_state_dict(found)


def _settings(config: Any) -> NetworkSettings:  # noqa: ANN401
    if not isinstance(config, dict):
        raise ValueError(f"it holds {shown(config)}, expected keys")
    norm = config.get("data_norm") or {}
    mean, std = parse_rgb(norm.get("mean")), parse_rgb(norm.get("std"))
    return NetworkSettings(mean, std, _trained_scale(config))


def _trained_scale(config: Mapping[str, Any]) -> float | None:
    wrapper = (config.get("train_dataset") or {}).get("wrapper") or {}
    scales = config.get("scale", (wrapper.get("args") or {}).get("scale"))
    if scales is None:
        return None
    scale = float(max(scales) if isinstance(scales, list) else scales)
    if not 1 <= scale <= LARGEST_SCALE:
        raise ValueError(f"expected a scale from 1 to {LARGEST_SCALE}, found {scale:g}")
    return scale
