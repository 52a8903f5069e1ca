"""Reads training configs: YAML with the published keys, our defaults, and `key=value` on top."""

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcsr.errors import CheckpointError, UsageError
from pcsr.models.checkpoint import Description, describe
from pcsr.models.plain import LARGEST_SCALE
from pcsr.models.registry import Rgb, normalisation, parse_rgb
from pcsr.models.values import parse_yaml, plain, read_yaml, shown, shown_error

from .data import AUGMENTS, Data
from .distillation import settings as distillation
from .distillation.settings import Distillation
from .optimizers import OPTIMIZERS

SAMPLE_PHOTOS, IMAGE_FOLDER = "sample-photos", "image-folder"
MOST_BATCH_PX = 2**29  # 6 GiB of float32 RGB
MOST_ITERATIONS = 10**12
MOST_FLOAT = 3e38
ALMOST_ONE = math.nextafter(1, 0)
DEFAULTS: dict[str, Any] = {
    "seed": 0,
    "train_dataset": {
        "dataset": {"name": "image-folder", "args": {"root_path": ""}},
        "wrapper": {
            "args": {
                "inp_size": 32,
                "scale": [4, 4],
                "augment": ["hflip", "vflip", "dflip"],
                "sample_q": 0,
                "sample_margin": 0,
            }
        },
        "batch_size": 16,
        "num_workers": 0,
    },
    "valid_dataset": {"dataset": {"name": "image-folder", "args": {"root_path": ""}}},
    "data_norm": {"mean": None, "std": None},  # None: as the backbone is registered
    "model": {"name": "", "args": {}},
    "teacher": distillation.DEFAULTS,
    "init_path": "",
    "loss_rgb_w": 1000.0,
    "loss_avg_w": 3.0,
    "loss_chroma_iter": 0,
    "optimizer": {"name": "adam", "args": {"lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": 0.0}},
    "lr_scheduler": {"args": {"eta_min": 1e-7}},
    "iter_max": [500_000],
    "iter_val": 1000,
    "iter_save": 1000,
}
IGNORED = frozenset({"phase", "test_dataset", "psnr_type", "patch_size", "step", "iter_print"})
IGNORED_BELOW = frozenset({"name", "scales", "scale", "T_period", "restarts", "weights"})


@dataclass(frozen=True)
class Config:
    """Says all of one training run."""

    seed: int
    data: Data
    mean: Rgb
    """Subtracted from RGB in [0, 1]."""
    std: Rgb
    model: Mapping[str, Any]
    """As a checkpoint describes the finished network."""
    network: Description
    """`model`, read."""
    distillation: Distillation | None
    """How it learns from a teacher; None where it learns as published."""
    start_from: Path | None
    reconstruction_weight: float
    average_weight: float
    chroma_iterations: int
    """The first iterations of training stage 0, in which colour weighs more."""
    optimizer: str
    learning_rate: float
    least_learning_rate: float
    betas: tuple[float, float]
    weight_decay: float
    iterations: tuple[int, ...]
    """Of each training stage."""
    validate_every: int
    save_every: int


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a config. overrides: `dotted.key=value`, the value in YAML.

    Raises:
        UsageError: unreadable, a key that is not known, or a value of the wrong form; names it.
    """
    try:
        given = read_yaml(path)
    except OSError as error:
        raise UsageError(f"config {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"config {path}: {error}") from error
    if not isinstance(given, dict):
        raise UsageError(f"config {path} holds no keys; expected the published training format")
    merged = copy.deepcopy(DEFAULTS)
    _merge(merged, given, f"config {path}", "")
    for override in overrides:
        _merge(merged, _override(override), "--set", "")
    try:
        return _typed(merged)
    except (TypeError, ValueError, OverflowError, KeyError, AttributeError) as error:
        raise UsageError(
            f"config {path}: a value has the wrong form: {shown_error(error)}"
        ) from error


def named(teacher: Path | None, images: Path | None) -> list[str]:
    """Gives the overrides that name a teacher's checkpoint and a folder of training images."""
    dataset = {"name": IMAGE_FOLDER, "args": {"root_path": str(images)}}
    return [
        *([f"teacher.path={json.dumps(str(teacher))}"] if teacher else []),
        *([f"train_dataset.dataset={json.dumps(dataset)}"] if images else []),
    ]


def _merge(into: dict[str, Any], given: Mapping[str, Any], where: str, prefix: str) -> None:
    for key, value in given.items():
        name = f"{prefix}{key}"
        if name == "model.args":  # its keys are the network's own
            into[key] = _updated(into[key], value)
        elif key not in into:
            if key not in (IGNORED_BELOW if prefix else IGNORED):
                raise UsageError(f"{where}: unknown key {shown(name)} (known: {', '.join(into)})")
        elif isinstance(into[key], dict):
            if not isinstance(value, dict):
                raise UsageError(f"{where}: {name} must hold keys, found {shown(value)}")
            _merge(into[key], value, where, f"{name}.")
        elif value is not None:
            into[key] = value


def _updated(old: Any, new: Any) -> Any:  # noqa: ANN401
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{key: _updated(old.get(key), value) for key, value in new.items()}}


def _override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UsageError(f"--set expects key=value, found {shown(text)}")
    try:
        nested: Any = parse_yaml(value)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        nested = plain(nested, "it")
    except ValueError as error:
        raise UsageError(f"--set {shown(key)[1:-1]}: {error}") from error
    result: dict[str, Any] = nested
    return result


def _typed(keys: Mapping[str, Any]) -> Config:
    train, optimizer = keys["train_dataset"], keys["optimizer"]["args"]
    wrapper = train["wrapper"]["args"]
    first, second = optimizer["betas"]
    teacher = distillation.read_teacher(keys["teacher"]["path"])
    model, prefix = distillation.completed(keys["model"], teacher)
    network = _network(model)
    norm = keys["data_norm"]
    backbone = distillation.normalised_as(network)
    mean, std = normalisation(backbone, parse_rgb(norm["mean"]), parse_rgb(norm["std"]))
    config = Config(
        seed=int(keys["seed"]),
        data=Data(
            photos=_folder(train["dataset"]),
            validation=_folder(keys["valid_dataset"]["dataset"]),
            scale=float(max(wrapper["scale"])),
            least_scale=float(min(wrapper["scale"])),
            patch_px=_integers(wrapper["inp_size"]),
            pixels_per_patch=int(wrapper["sample_q"]) or None,
            margin_px=int(wrapper["sample_margin"]),
            augment=tuple(wrapper["augment"]),
            batch=int(train["batch_size"]),
            workers=int(train["num_workers"]),
        ),
        mean=mean,
        std=std,
        model=model,
        network=network,
        distillation=distillation.read_settings(keys["teacher"], prefix, teacher),
        start_from=Path(keys["init_path"]) if keys["init_path"] else None,
        reconstruction_weight=float(keys["loss_rgb_w"]),
        average_weight=float(keys["loss_avg_w"]),
        chroma_iterations=int(keys["loss_chroma_iter"]),
        optimizer=str(keys["optimizer"]["name"]),
        learning_rate=float(optimizer["lr"]),
        least_learning_rate=float(keys["lr_scheduler"]["args"]["eta_min"]),
        betas=(float(first), float(second)),
        weight_decay=float(optimizer["weight_decay"]),
        iterations=_integers(keys["iter_max"]),
        validate_every=int(keys["iter_val"]),
        save_every=int(keys["iter_save"]),
    )
    _check_ranges(config)
    return config


def _check_ranges(config: Config) -> None:
    data = config.data
    for key, values, least, most in (
        ("seed", (config.seed,), 0, 2**62),
        ("train_dataset.wrapper.args.scale", (data.least_scale, data.scale), 1, LARGEST_SCALE),
        ("train_dataset.wrapper.args.sample_q", (data.pixels_per_patch or 0,), 0, math.inf),
        ("train_dataset.num_workers", (data.workers,), 0, 1024),
        ("loss_rgb_w", (config.reconstruction_weight,), 0, MOST_FLOAT),
        ("loss_avg_w", (config.average_weight,), 0, MOST_FLOAT),
        ("loss_chroma_iter", (config.chroma_iterations,), 0, math.inf),
        ("lr_scheduler.args.eta_min", (config.least_learning_rate,), 0, MOST_FLOAT),
        ("optimizer.args.betas", config.betas, 0, ALMOST_ONE),
        ("optimizer.args.weight_decay", (config.weight_decay,), 0, MOST_FLOAT),
    ):
        for value in values:
            if not value >= least:
                raise UsageError(f"{key} must be at least {least}, found {value}")
            if value > most:
                bound = "below 1" if most == ALMOST_ONE else f"at most {most:g}"
                raise UsageError(f"{key} must be {bound}, found {value}")
    _check_positive(config)
    _check_names(config)


def _check_positive(config: Config) -> None:
    positive: dict[str, tuple[float, float]] = {
        "train_dataset.wrapper.args.inp_size": (min(config.data.patch_px, default=0), math.inf),
        "train_dataset.batch_size": (config.data.batch, math.inf),
        "iter_max": (min(config.iterations, default=0), math.inf),
        "iter_val": (config.validate_every, math.inf),
        "iter_save": (config.save_every, math.inf),
        "optimizer.args.lr": (config.learning_rate, MOST_FLOAT),
    }
    for key, (value, most) in positive.items():
        if not 0 < value <= most:
            raise UsageError(f"{key} must be positive, found {value}")
    if max(config.iterations) > MOST_ITERATIONS:
        raise UsageError(
            f"iter_max must be at most {MOST_ITERATIONS}, found {max(config.iterations)}"
        )
    side = max(config.data.patch_px) * config.data.scale
    if config.data.batch * side**2 > MOST_BATCH_PX:
        raise UsageError(
            f"a batch of {config.data.batch} patches of {side:g}x{side:g} px is larger than "
            f"{MOST_BATCH_PX:,} px; lower train_dataset.batch_size or inp_size"
        )


def _check_names(config: Config) -> None:
    for what, names, known in (
        ("augment", config.data.augment, [*AUGMENTS]),
        ("optimizer", (config.optimizer,), [*OPTIMIZERS]),
    ):
        unknown = ", ".join(set(names).difference(known))
        if unknown:
            raise UsageError(f"unknown {what} {unknown} (known: {', '.join(known)})")
    if not 0 <= 2 * config.data.margin_px < min(config.data.patch_px):
        raise UsageError(
            "train_dataset.wrapper.args.sample_margin must leave a part of the patch of "
            f"{min(config.data.patch_px)} px, found {config.data.margin_px}"
        )


def _network(model: Mapping[str, Any]) -> Description:
    try:
        return describe(model["name"], model["args"])
    except CheckpointError as error:
        raise UsageError(f"the model of the config is not complete: {error}") from error


def _integers(value: Any) -> tuple[int, ...]:  # noqa: ANN401
    return tuple(int(n) for n in (value if isinstance(value, list) else [value]))


def _folder(dataset: Mapping[str, Any]) -> Path | None:
    if dataset["name"] == SAMPLE_PHOTOS:
        return None
    root = dataset["args"]["root_path"]
    if not root:
        raise UsageError(f"root_path is not set; name a folder of images, or use {SAMPLE_PHOTOS}")
    return Path(root)
