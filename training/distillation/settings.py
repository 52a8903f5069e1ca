"""Reads the `teacher` section of a training config, and the network that it completes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcsr.errors import UsageError
from pcsr.models.backbones.extended import NAME as EXTENDED
from pcsr.models.checkpoint import Checkpoint, Description, read_checkpoint
from pcsr.models.values import shown

DEFAULTS: dict[str, Any] = {
    "path": "",
    "freeze": True,
    "loss_teacher_w": 1.0,
    "loss_original_w": 0.0,
    "heavy_share": 0.25,
    "patches": 1000,
}
PLACEHOLDER = "teacher"
"""The name that stands for the teacher's backbone where a config describes an encoder."""
MOST_PATCHES = 10**6


@dataclass(frozen=True)
class Distillation:
    """Says how a network learns from another one."""

    teacher: Path
    sha256: str
    """Of the teacher's checkpoint."""
    prefix: str | None
    """What the names of the taken backbone's weights begin with in the network that is trained;
    None where it has a backbone of its own."""
    freeze: bool
    """Whether that backbone keeps its weights."""
    teacher_weight: float
    original_weight: float
    heavy_share: float
    """The share of the pixels of training patches that the classifier aims at for the heaviest
    upsampler; the others share the rest equally."""
    patches: int
    """Computed by the teacher once, before the first iteration."""


def read_settings(
    section: Mapping[str, Any], prefix: str | None, teacher: Checkpoint | None
) -> Distillation | None:
    """Reads the section of a config; None without a teacher.

    Raises:
        UsageError: a value is out of range; names it. TypeError, ValueError: of the wrong form.
    """
    if teacher is None:
        return None
    if not isinstance(section["freeze"], bool):
        raise UsageError(f"teacher.freeze must be true or false, found {shown(section['freeze'])}")
    settings = Distillation(
        teacher=teacher.path,
        sha256=teacher.sha256,
        prefix=prefix,
        freeze=section["freeze"],
        teacher_weight=float(section["loss_teacher_w"]),
        original_weight=float(section["loss_original_w"]),
        heavy_share=float(section["heavy_share"]),
        patches=int(section["patches"]),
    )
    for key, value, least, most in (
        ("loss_teacher_w", settings.teacher_weight, 0, 1e9),
        ("loss_original_w", settings.original_weight, 0, 1e9),
        ("heavy_share", settings.heavy_share, 0.01, 0.99),
        ("patches", settings.patches, 1, MOST_PATCHES),
    ):
        if not least <= value <= most:
            raise UsageError(f"teacher.{key} must lie between {least} and {most:g}, found {value}")
    if settings.teacher_weight + settings.original_weight == 0:
        raise UsageError("teacher.loss_teacher_w and loss_original_w are both 0; set one of them")
    return settings


def read_teacher(path: str) -> Checkpoint | None:
    """Reads the checkpoint of a config's teacher; None where it names none."""
    return read_checkpoint(Path(path)) if path else None


def completed(
    model: Mapping[str, Any], teacher: Checkpoint | None
) -> tuple[dict[str, Any], str | None]:
    """Puts the teacher's backbone where a config's model says `name: teacher`, as the encoder
    or within an extended one; also returns the prefix of its weights, None where it says so
    nowhere.

    Raises:
        UsageError: it does, and there is no teacher.
    """
    args = model["args"]
    encoder = args.get("encoder_spec") if isinstance(args, dict) else None
    if not isinstance(encoder, dict):
        return dict(model), None
    inner = _inner(encoder)
    if encoder.get("name") == PLACEHOLDER:
        found, prefix = _backbone(teacher), "encoder."
    elif isinstance(inner, dict) and inner.get("name") == PLACEHOLDER:
        found = {**encoder, "args": {**encoder["args"], "encoder": _backbone(teacher)}}
        prefix = "encoder.encoder."
    else:
        return dict(model), None
    return {**model, "args": {**args, "encoder_spec": found}}, prefix


def _inner(encoder: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Returns what an extended encoder continues; None of any other."""
    args = encoder.get("args") if encoder.get("name") == EXTENDED else None
    return args.get("encoder") if isinstance(args, dict) else None


def _backbone(teacher: Checkpoint | None) -> dict[str, Any]:
    if teacher is None:
        raise UsageError(
            "the config's network takes the backbone of a teacher; name its checkpoint with "
            "--teacher"
        )
    what = teacher.description
    args = dict(what.backbone_args)
    if not what.upsamplers:  # a plain network, without its tail
        args["no_upsampling"] = True
    return {"name": what.backbone, "args": args}


def normalised_as(network: Description) -> str:
    """Names the registered backbone whose normalisation is a network's default."""
    name, args = network.backbone, network.backbone_args
    while name == EXTENDED:
        name, args = args["encoder"]["name"], args["encoder"].get("args") or {}
    return name
