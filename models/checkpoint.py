"""Reads published checkpoints: {"model": {"name", "args", "sd"}, …}; never runs code in them."""

import hashlib
import io
import json
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pcsr.errors import CheckpointError

PARALLEL_PREFIX = "module."  # what DataParallel puts before every name


@dataclass(frozen=True)
class Description:
    """Holds a network as its checkpoint describes it."""

    backbone: str
    backbone_args: Mapping[str, Any]
    upsampler_widths: tuple[tuple[int, ...], ...]
    """Hidden widths of the MLPs, heaviest first; empty for a plain network."""
    classifier_widths: tuple[int, ...] | None
    """Hidden widths of its MLP; None without a classifier."""


@dataclass(frozen=True)
class Checkpoint:
    """Holds what a checkpoint describes, and its weights."""

    path: Path
    sha256: str
    description: Description
    weights: Mapping[str, torch.Tensor]
    """On the CPU."""
    training: Mapping[str, Any]
    """`data_norm` and `scale`, keyed as in a config, where its training noted them."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads `pcsr-phase0`, `pcsr-phase1`, `pcsr` (any M) and plain-network checkpoints.

    Raises:
        CheckpointError: not a checkpoint, not one of these formats, or with weights that are not
            finite.
    """
    data = read_file(path)
    content = _load(path, data)
    model = _model_entry(path, content)
    try:
        description = describe(str(model["name"]), model["args"])
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        description=description,
        weights=_finite_weights(path, model["sd"]),
        training={key: content[key] for key in ("data_norm", "scale") if key in content},
    )


def read_file(path: Path) -> bytes:
    """Reads a checkpoint file. Raises CheckpointError where there are none to read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist; pass the .pth file that training wrote"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def _load(path: Path, data: bytes) -> Any:  # noqa: ANN401
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from error
    except Exception as error:  # torch raises many kinds on foreign files
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint, or is truncated ({type(error).__name__})"
        ) from error


def _refusal(path: Path, message: str) -> str:
    wanted = re.search(r"GLOBAL:?\s+(?:GLOBAL\s+)?([\w.]+\.\w+)", message)
    if not wanted:
        return f"{path} is not a PyTorch checkpoint, or is damaged"
    return (
        f"{path} holds more than weights: it would import and call {wanted[1]}. "
        "Only tensors and plain values are loaded; save it again without that object"
    )


def _model_entry(path: Path, data: Any) -> Mapping[str, Any]:  # noqa: ANN401
    model = data.get("model") if isinstance(data, dict) else None
    if isinstance(model, dict) and {"name", "args", "sd"} <= model.keys():
        return model
    found = f"a {type(data).__name__}"
    if isinstance(data, dict):
        content, what = (model, "model") if isinstance(model, dict) else (data, "dict")
        found = f"a {what} of {', '.join(map(str, list(content)[:4])) or 'nothing'}"
    raise CheckpointError(
        f"{path} does not describe its network: expected a dict model of name, args and sd, as "
        f"published; found {found}"
    )


def describe(name: str, args: Any) -> Description:  # noqa: ANN401
    """Reads the network of a checkpoint's `model` entry.

    Raises:
        CheckpointError: an unknown format, or a description with parts missing.
    """
    try:
        if name == "pcsr-phase0":
            return _pcsr(args, [args["heavy_sampler_spec"]], None)
        if name == "pcsr-phase1":
            samplers = [args["heavy_sampler_spec"], args["light_sampler_spec"]]
            return _pcsr(args, samplers, args["classifier_spec"])
        if name == "pcsr":
            return _pcsr(args, args["sampler_specs"], args.get("classifier_spec"))
        if name.startswith("pcsr"):
            raise ValueError(f"unknown format '{name}' (known: pcsr-phase0, pcsr-phase1, pcsr)")
        return Description(name, _plain_values(args), (), None)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"the description of the network is incomplete: {reason}") from error


def _pcsr(args: Any, samplers: list[Any], classifier: Any) -> Description:  # noqa: ANN401
    if not samplers:
        raise ValueError("sampler_specs is empty, expected one or more")
    if len(samplers) > 1 and classifier is None:
        raise ValueError(f"no classifier_spec for {len(samplers)} upsamplers")
    encoder = args["encoder_spec"]
    return Description(
        backbone=str(encoder["name"]),
        backbone_args=_plain_values(encoder.get("args") or {}),
        upsampler_widths=tuple(_mlp_widths(spec) for spec in samplers),
        classifier_widths=None if classifier is None else _mlp_widths(classifier),
    )


def _plain_values(args: Any) -> dict[str, Any]:  # noqa: ANN401
    """Returns the same, as the manifest can hold it. Raises TypeError for tensors and the like."""
    values: dict[str, Any] = json.loads(json.dumps(dict(args), allow_nan=False))
    return values


def _mlp_widths(spec: Any) -> tuple[int, ...]:  # noqa: ANN401
    mlp = spec["args"]["imnet_spec"]
    if spec["name"] != "liif-sampler" or mlp["name"] != "mlp" or mlp["args"].get("residual"):
        raise ValueError(
            f"expected a liif-sampler with a plain mlp, found {spec['name']} with {mlp}"
        )
    widths = tuple(int(width) for width in mlp["args"]["hidden_list"])
    if any(width < 1 for width in widths):
        raise ValueError(f"hidden_list {list(widths)} has a width below 1")
    return widths


def _finite_weights(path: Path, weights: Any) -> Mapping[str, torch.Tensor]:  # noqa: ANN401
    if not isinstance(weights, dict) or not all(torch.is_tensor(w) for w in weights.values()):
        raise CheckpointError(f"{path}: expected a state dict of tensors under model/sd")
    for name, weight in weights.items():
        if weight.is_meta or weight.layout != torch.strided or weight.is_complex():
            raise CheckpointError(f"{path}: {name} is not an ordinary tensor of real numbers")
        if not bool(torch.isfinite(weight).all()):
            count = int((~torch.isfinite(weight)).sum())
            raise CheckpointError(
                f"{path}: {name} holds {count} NaN or infinite values; the training diverged"
            )
    if all(name.startswith(PARALLEL_PREFIX) for name in weights):
        return {name.removeprefix(PARALLEL_PREFIX): weight for name, weight in weights.items()}
    return weights
