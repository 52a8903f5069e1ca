"""Reads published checkpoints: {"model": {"name", "args", "sd"}, …}; never runs code in them."""

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pcsr.errors import CheckpointError


@dataclass(frozen=True)
class Description:
    """The network as its checkpoint describes it. Hidden widths of the MLPs are heaviest first.

    upsampler_widths is empty for a plain network; classifier_widths is None without a classifier.
    """

    backbone: str
    backbone_args: Mapping[str, Any]
    upsampler_widths: tuple[tuple[int, ...], ...]
    classifier_widths: tuple[int, ...] | None


@dataclass(frozen=True)
class Checkpoint:
    """A read checkpoint: what it describes, and its weights on the CPU."""

    path: Path
    sha256: str
    description: Description
    weights: Mapping[str, torch.Tensor]


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads `pcsr-phase0`, `pcsr-phase1`, `pcsr` (any M) and plain-network checkpoints.

    Raises:
        CheckpointError: not a checkpoint, not one of these formats, or with weights that are not
            finite.
    """
    data = read_file(path)
    model = _model_entry(path, _load(path, data))
    return Checkpoint(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        description=_describe(path, str(model["name"]), model["args"]),
        weights=_finite_weights(path, model["sd"]),
    )


def read_file(path: Path) -> bytes:
    """The bytes of a checkpoint file. Raises CheckpointError where there are none to read."""
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
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from error
    except Exception as error:  # torch raises many kinds on foreign files
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint, or is truncated ({type(error).__name__})"
        ) from error


def _refusal(path: Path, message: str) -> str:
    _, found, rest = message.partition("Unsupported global: GLOBAL ")
    if not found:
        return f"{path} is not a PyTorch checkpoint, or is damaged"
    name = rest.split()[0]
    return (
        f"{path} holds more than weights: it would import and call {name}. "
        "Only tensors and plain values are loaded; save it again without that object"
    )


def _model_entry(path: Path, data: Any) -> Mapping[str, Any]:  # noqa: ANN401
    model = data.get("model") if isinstance(data, dict) else None
    if isinstance(model, dict) and {"name", "args", "sd"} <= model.keys():
        return model
    found = (
        f"a dict of {', '.join(map(str, list(data)[:4]))}, …"
        if isinstance(data, dict)
        else type(data)
    )
    raise CheckpointError(
        f"{path} does not describe its network: expected a dict model of name, args and sd, as "
        f"published; found {found}"
    )


def _describe(path: Path, name: str, args: Any) -> Description:  # noqa: ANN401
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
        raise CheckpointError(
            f"{path}: the description of the network is incomplete: {reason}"
        ) from error


def _pcsr(args: Any, samplers: list[Any], classifier: Any) -> Description:  # noqa: ANN401
    encoder = args["encoder_spec"]
    return Description(
        backbone=str(encoder["name"]),
        backbone_args=_plain_values(encoder.get("args") or {}),
        upsampler_widths=tuple(_mlp_widths(spec) for spec in samplers),
        classifier_widths=None if classifier is None else _mlp_widths(classifier),
    )


def _plain_values(args: Any) -> dict[str, Any]:  # noqa: ANN401
    """The same, as the manifest can hold it. Raises TypeError for tensors and the like."""
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
        if not bool(torch.isfinite(weight).all()):
            count = int((~torch.isfinite(weight)).sum())
            raise CheckpointError(
                f"{path}: {name} holds {count} NaN or infinite values; the training diverged"
            )
    return weights
