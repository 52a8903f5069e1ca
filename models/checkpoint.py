"""Reads checkpoints: {"model": {"name", "args", "sd"}, …} as published, and weights alone of known
networks; never runs code in them.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pcsr.bundle import is_bundle
from pcsr.errors import CheckpointError
from pcsr.reading import files

from .containers import MOST_CHECKPOINT_BYTES, is_safetensors, load_content
from .liif import UpsamplerSpec
from .pcsr import sampler_names
from .recognition import find_description, recognised_file
from .values import plain, shown, shown_error
from .weights import check_weights

TRAINING = ("data_norm", "scale", "refine")


@dataclass(frozen=True)
class Description:
    """Holds a network as its checkpoint describes it."""

    backbone: str
    backbone_args: Mapping[str, Any]
    upsamplers: tuple[UpsamplerSpec, ...]
    """Heaviest first; empty for a plain network."""
    classifier_widths: tuple[int, ...] | None
    """Hidden widths of its MLP; None without a classifier."""


@dataclass(frozen=True)
class Checkpoint:
    """Holds what a checkpoint describes, and its weights."""

    path: Path
    sha256: str
    description: Description
    weights: Mapping[str, Tensor]
    """On the CPU."""
    training: Mapping[str, Any]
    """`data_norm`, `scale` and `refine`, where its training noted them."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads checkpoints that describe their network, at whatever depth of the file, and weights
    alone of networks that are recognised; the log says what they were taken for.

    Raises:
        CheckpointError: not a checkpoint, of an unknown network, or with weights that are not
            finite.
    """
    data = read_file(path)
    sha256, size = hashlib.sha256(data).hexdigest(), len(data)
    kind = "a safetensors file" if is_safetensors(data) else "a file of torch.save"
    content = load_content(path, data)
    del data  # as large as the weights
    described = find_description(content)
    if described is not None:
        model, noted = described.value, described.holder
        weights = check_weights(path, model["sd"], size)
    else:
        found = recognised_file(path, kind, content, size)
        model, weights = {"name": found.name, "args": found.args}, found.weights
        noted = {"data_norm": found.data_norm} if found.data_norm else {}
    try:
        description = describe(model["name"], model["args"])
        training = plain({key: noted[key] for key in TRAINING if key in noted}, "it")
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: data_norm or scale: {error}") from error
    if model["name"] == "liif":
        weights = _named_as_pcsr(weights)
    return Checkpoint(path, sha256, description, weights, training)


def _named_as_pcsr(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Names the MLP of LIIF as that of a PCSR network with one upsampler."""
    sampler = sampler_names(1)[0]
    return {
        re.sub(r"^((?:\w+\.)*?)imnet\.", rf"\1{sampler}.imnet.", name): weight
        for name, weight in weights.items()
    }


def read_file(path: Path) -> bytes:
    """Reads a checkpoint file. Raises CheckpointError where there is none, or it is too large."""
    try:
        return files.read_file(path, MOST_CHECKPOINT_BYTES)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist; pass the .pth file that training wrote"
        ) from None
    except OSError as error:
        if is_bundle(path):
            raise CheckpointError(
                f"{path} is a bundle, a directory that pcsr-export writes; pass the checkpoint "
                "(.pth) that it was made from"
            ) from error
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def describe(name: Any, args: Any) -> Description:  # noqa: ANN401
    """Reads the network of a checkpoint's `model` entry.

    Raises:
        CheckpointError: an unknown format, or a description with parts missing, or with others than
            plain values.
    """
    try:
        if not isinstance(name, str):
            raise ValueError(f"its name is {shown(name)}, expected text")
        args = plain(args, "args")
        if not isinstance(args, dict):
            raise ValueError(f"args is {shown(args)}, expected a dict")
        if name == "pcsr-phase0":
            return _pcsr(args, [args["heavy_sampler_spec"]], None)
        if name == "pcsr-phase1":
            samplers = [args["heavy_sampler_spec"], args["light_sampler_spec"]]
            return _pcsr(args, samplers, args["classifier_spec"])
        if name == "liif":
            return _liif(args)
        if name == "pcsr":
            return _pcsr(args, args["sampler_specs"], args.get("classifier_spec"))
        if name.startswith("pcsr"):
            known = "known: pcsr-phase0, pcsr-phase1, pcsr"
            raise ValueError(f"unknown format {shown(name)} ({known})")
        return Description(name, _finite_values(args), (), None)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else shown_error(error)
        raise CheckpointError(f"the description of the network is incomplete: {reason}") from error


def _pcsr(args: Any, samplers: list[Any], classifier: Any) -> Description:  # noqa: ANN401
    if not samplers or not isinstance(samplers, list):
        raise ValueError("sampler_specs is empty, expected one or more")
    if len(samplers) > 1 and classifier is None:
        raise ValueError(f"no classifier_spec for {len(samplers)} upsamplers")
    encoder = args["encoder_spec"]
    return Description(
        backbone=_name(encoder["name"]),
        backbone_args=_finite_values(encoder.get("args") or {}),
        upsamplers=tuple(_sampler(spec) for spec in samplers),
        classifier_widths=None if classifier is None else _sampler(classifier).widths,
    )


def _liif(args: Any) -> Description:  # noqa: ANN401
    """Reads a network of the LIIF code: one upsampler, which gives colours."""
    encoder = args["encoder_spec"]
    defaults = {"local_ensemble": True, "feat_unfold": True, "base": "none"}
    backbone_args = _finite_values(encoder.get("args") or {})
    upsampler = _upsampler(defaults | args)
    return Description(_name(encoder["name"]), backbone_args, (upsampler,), None)


def _sampler(spec: Any) -> UpsamplerSpec:  # noqa: ANN401
    if spec["name"] != "liif-sampler":
        raise ValueError(f"expected a liif-sampler, found {shown(spec['name'])}")
    return _upsampler(spec["args"])


def _upsampler(args: Mapping[str, Any]) -> UpsamplerSpec:
    """Reads an upsampler; what the LIIF code calls its parts is off by default, as in PCSR."""
    base = args.get("base", "bilinear")
    if base not in ("bilinear", "none"):
        raise ValueError(f"base is {shown(base)}, expected bilinear or none")
    return UpsamplerSpec(
        _mlp_widths(args["imnet_spec"]),
        neighbours=4 if _flag(args, "local_ensemble", False) else 1,
        base=base,
        unfold=_flag(args, "feat_unfold", False),
        cell=_flag(args, "cell_decode", True),
    )


def _flag(args: Mapping[str, Any], name: str, default: bool) -> bool:
    value = args.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {shown(value)}, expected true or false")
    return value


def _name(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise ValueError(f"the name of the backbone is {shown(value)}, expected text")
    return value


def _finite_values(args: Any) -> dict[str, Any]:  # noqa: ANN401
    """Returns the same, as the manifest can hold it. Raises ValueError for NaN and infinity."""
    json.dumps(args, allow_nan=False)
    return dict(args)


def _mlp_widths(mlp: Any) -> tuple[int, ...]:  # noqa: ANN401
    if mlp["name"] != "mlp" or mlp["args"].get("residual"):
        raise ValueError(f"expected a plain mlp, found {shown(str(mlp))}")
    widths = mlp["args"]["hidden_list"]
    if not isinstance(widths, list):
        raise ValueError(f"hidden_list is {shown(widths)}, expected a list of widths")
    return tuple(_width(width) for width in widths)


def _width(value: Any) -> int:  # noqa: ANN401
    if not isinstance(value, int | float) or isinstance(value, bool) or value % 1 != 0:
        raise ValueError(f"hidden_list holds {shown(value)}, expected whole numbers")
    if value < 1:
        raise ValueError(f"hidden_list has a width below 1: {shown(value)}")
    return int(value)
