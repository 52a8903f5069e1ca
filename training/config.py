"""Reads training configs: the published keys, typed and within their ranges."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcsr.errors import CheckpointError, UsageError
from pcsr.metrics import Channel
from pcsr.models.checkpoint import Description, describe
from pcsr.models.plain import LARGEST_SCALE
from pcsr.models.registry import Rgb, normalisation, parse_rgb
from pcsr.models.values import shown, shown_error

from .data import AUGMENTS, Data
from .distillation import settings as distillation
from .distillation.settings import Distillation
from .keys import read_keys, unused
from .optimizers import OPTIMIZERS

IMAGE_FOLDER, SAMPLE_PHOTOS = "image-folder", "sample-photos"
PAIRED_FOLDERS, SUB_IMAGES = "paired-image-folders", "published-sub-images"
WRAPPERS = {PAIRED_FOLDERS: "sr-implicit-paired"}
DOWNSAMPLED = "sr-implicit-downsampled"
"""The wrapper of all other datasets."""
DEFAULT_PATCH_PX = 32
DEFAULT_SCALE = [4, 4]
MOST_BATCH_PX = 2**29  # 6 GiB of float32 RGB
MOST_ITERATIONS = 10**12
MOST_FLOAT = 3e38
ALMOST_ONE = math.nextafter(1, 0)


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
    phase: int | None
    """The one training stage that is trained, from what the stage before it left; None: all."""
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
    report_every: int | None
    validate_every: int
    save_every: int
    psnr_channel: Channel
    notes: tuple[str, ...]
    """What a user should know of the keys."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a config. overrides: `dotted.key=value`, the value in YAML.

    Raises:
        UsageError: unreadable, a key that is not known, or a value of the wrong form; names it.
    """
    keys = read_keys(path, overrides)
    try:
        return _typed(keys)
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


def _typed(keys: Mapping[str, Any]) -> Config:
    optimizer = keys["optimizer"]["args"]
    first, second = optimizer["betas"]
    teacher = distillation.read_teacher(keys["teacher"]["path"])
    model, prefix = distillation.completed(keys["model"], teacher)
    network = _network(model)
    norm = keys["data_norm"]
    backbone = distillation.normalised_as(network)
    mean, std = normalisation(backbone, parse_rgb(norm["mean"]), parse_rgb(norm["std"]))
    data, iterations = _data(keys), _integers(keys["iter_max"])
    note = unused(keys, data.scale, iterations)
    config = Config(
        seed=int(keys["seed"]),
        data=data,
        mean=mean,
        std=std,
        model=model,
        network=network,
        distillation=distillation.read_settings(keys["teacher"], prefix, teacher),
        start_from=Path(keys["init_path"]) if keys["init_path"] else None,
        phase=_phase(keys["phase"]),
        reconstruction_weight=float(keys["loss_rgb_w"]),
        average_weight=float(keys["loss_avg_w"]),
        chroma_iterations=int(keys["loss_chroma_iter"]),
        optimizer=str(keys["optimizer"]["name"]),
        learning_rate=float(optimizer["lr"]),
        least_learning_rate=float(keys["lr_scheduler"]["args"]["eta_min"]),
        betas=(float(first), float(second)),
        weight_decay=float(optimizer["weight_decay"]),
        iterations=iterations,
        report_every=None if keys["iter_print"] is None else int(keys["iter_print"]),
        validate_every=int(keys["iter_val"]),
        save_every=int(keys["iter_save"]),
        psnr_channel=_channel(keys["psnr_type"]),
        notes=(note,) if note else (),
    )
    _check_ranges(config)
    return config


def _data(keys: Mapping[str, Any]) -> Data:
    train = keys["train_dataset"]
    wrapper, name = train["wrapper"]["args"], _dataset_name(train, SUB_IMAGES)
    _check_wrapper(train["wrapper"]["name"], name)
    photos, lr_photos = _folders(train["dataset"], name)
    valid = keys["valid_dataset"]
    validation, lr_validation = _folders(valid["dataset"], _dataset_name(valid))
    scale = _scale(keys["scale"], wrapper["scale"])
    sides = wrapper["inp_size"]
    if sides is None and name != PAIRED_FOLDERS:
        sides = DEFAULT_PATCH_PX
    return Data(
        photos=photos,
        validation=validation,
        scale=float(max(scale)),
        least_scale=float(min(scale)),
        patch_px=() if sides is None else _integers(sides),
        pixels_per_patch=int(wrapper["sample_q"]) or None,
        margin_px=int(wrapper["sample_margin"]),
        augment=tuple(wrapper["augment"]),
        batch=int(train["batch_size"]),
        workers=int(train["num_workers"]),
        sub_images=name == SUB_IMAGES,
        lr_photos=lr_photos,
        lr_validation=lr_validation,
    )


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
        "train_dataset.wrapper.args.inp_size": (min(config.data.patch_px, default=1), math.inf),
        "train_dataset.batch_size": (config.data.batch, math.inf),
        "iter_max": (min(config.iterations, default=0), math.inf),
        "iter_print": (1 if config.report_every is None else config.report_every, math.inf),
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
    side = max(config.data.patch_px, default=1) * config.data.scale
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
    side = min(config.data.patch_px, default=math.inf)
    if not 0 <= 2 * config.data.margin_px < side:
        raise UsageError(
            f"train_dataset.wrapper.args.sample_margin must leave a part of the patch of {side} px,"
            f" found {config.data.margin_px}"
        )
    if config.distillation and (
        config.phase is not None or config.data.sub_images or config.data.lr_photos
    ):
        raise UsageError(
            f"a network that learns from a teacher has no phase, and learns from {IMAGE_FOLDER} or "
            f"{SAMPLE_PHOTOS}; leave out phase, or name such a dataset"
        )


def _network(model: Mapping[str, Any]) -> Description:
    try:
        return describe(model["name"], model["args"])
    except CheckpointError as error:
        raise UsageError(f"the model of the config is not complete: {error}") from error


def _integers(value: Any) -> tuple[int, ...]:  # noqa: ANN401
    return tuple(int(n) for n in (value if isinstance(value, list) else [value]))


def _phase(value: Any) -> int | None:  # noqa: ANN401
    if value is not None and (type(value) is not int or value < 0):
        raise UsageError(f"phase must be a number from 0, or left out, found {shown(value)}")
    return value


def _channel(value: Any) -> Channel:  # noqa: ANN401
    if value not in ("rgb", "y"):
        raise UsageError(f"psnr_type must be rgb or y, found {shown(value)}")
    channel: Channel = value
    return channel


def _scale(common: Any, own: Any) -> Sequence[float]:  # noqa: ANN401
    """Reads the range of `train_dataset.wrapper.args.scale`, for which `scale` stands as well."""
    if common is None:
        scales: Sequence[float] = DEFAULT_SCALE if own is None else own
        return scales
    if own is not None and [*own] != [common] * len(own):
        raise UsageError(
            f"scale is {shown(common)}, and train_dataset.wrapper.args.scale is something else; "
            "leave out one of them"
        )
    return [common]


def _dataset_name(part: Mapping[str, Any], *more: str) -> str:
    name, known = part["dataset"]["name"], (IMAGE_FOLDER, SAMPLE_PHOTOS, PAIRED_FOLDERS, *more)
    if name not in known:
        raise UsageError(f"unknown dataset {shown(name)} (known: {', '.join(known)})")
    return str(name)


def _check_wrapper(name: Any, dataset: str) -> None:  # noqa: ANN401
    expected = WRAPPERS.get(dataset, DOWNSAMPLED)
    if name not in ("", expected):
        raise UsageError(
            f"train_dataset.wrapper.name is {shown(name)}; expected {expected} for {dataset}"
        )


def _folders(dataset: Mapping[str, Any], name: str) -> tuple[Path | None, Path | None]:
    """Returns the folder of photos and that of low-resolution ones, None where there is none."""
    if name == SAMPLE_PHOTOS:
        return None, None
    roots = ("root_path_hr", "root_path_lr") if name == PAIRED_FOLDERS else ("root_path",)
    for root in roots:
        if not dataset["args"][root]:
            raise UsageError(f"{root} is not set; name a folder of images, or use {SAMPLE_PHOTOS}")
    found = [Path(dataset["args"][root]) for root in roots]
    return found[0], found[1] if len(found) > 1 else None
