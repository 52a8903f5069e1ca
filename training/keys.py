"""Reads the keys of training configs: our defaults, what a file gives, and `key=value` on top."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pcsr.errors import UsageError
from pcsr.models.values import parse_yaml, plain, read_yaml, shown

from .distillation import settings as distillation


def _dataset() -> dict[str, Any]:
    roots = {"root_path": "", "root_path_hr": "", "root_path_lr": ""}
    return {"name": "image-folder", "args": roots}


DEFAULTS: dict[str, Any] = {
    "seed": 0,
    "phase": None,  # None: all stages
    "scale": None,  # for train_dataset.wrapper.args.scale
    "train_dataset": {
        "dataset": _dataset(),
        "wrapper": {
            "name": "",  # as the dataset asks for
            "args": {
                "inp_size": None,  # 32; of pairs: whole ones
                "scale": None,  # [4, 4]
                "augment": ["hflip", "vflip", "dflip"],
                "sample_q": 0,
                "sample_margin": 0,
            },
        },
        "batch_size": 16,
        "num_workers": 0,
    },
    "valid_dataset": {"dataset": _dataset(), "wrapper": None, "scales": None},
    "test_dataset": None,
    "psnr_type": "rgb",
    "patch_size": None,
    "step": None,
    "data_norm": {"mean": None, "std": None},  # None: as the backbone is registered
    "model": {"name": "", "args": {}},
    "teacher": distillation.DEFAULTS,
    "init_path": "",
    "loss_rgb_w": 1000.0,
    "loss_avg_w": 3.0,
    "loss_chroma_iter": 0,
    "optimizer": {"name": "adam", "args": {"lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": 0.0}},
    "lr_scheduler": {
        "name": None,
        "args": {"eta_min": 1e-7, "T_period": None, "restarts": None, "weights": None},
    },
    "iter_max": [500_000],
    "iter_print": None,
    "iter_val": 1000,
    "iter_save": 1000,
}
FOR_EVALUATION = ("test_dataset", "patch_size", "step")
FREE = frozenset({*FOR_EVALUATION, "valid_dataset.wrapper", "model.args"})
"""Hold keys that are not known here."""
AUGMENT = "train_dataset.wrapper.args.augment"
"""Of which null is none, as published; elsewhere null is the default."""
COSINES = ("CosineAnnealingLR_Restart", "CosineAnnealingLR")


def read_keys(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Reads the keys of a config. overrides: `dotted.key=value`, the value in YAML.

    Raises:
        UsageError: unreadable, or a key that is not known; names it.
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
    return merged


def unused(keys: Mapping[str, Any], scale: float, iterations: Sequence[int]) -> str:
    """Says in one line what of the given keys is not used: what is for evaluation, and what asks
    for something else than is done. "" where there is nothing to say.
    """
    given = [name for name in FOR_EVALUATION if keys[name] is not None]
    said = [f"{', '.join(given)} (pcsr-evaluate --patches evaluates)"] if given else []
    said += _of_scheduler(keys["lr_scheduler"], list(iterations))
    valid = keys["valid_dataset"]
    if valid["scales"] not in (None, [scale]):
        said.append(f"valid_dataset.scales (validated at x{scale:g})")
    wrapper = valid["wrapper"] if isinstance(valid["wrapper"], dict) else {}
    args = wrapper.get("args")
    if isinstance(args, dict):
        said += [f"valid_dataset.wrapper.args.{name}" for name in args if args[name]]
    return f"not used by training: {', '.join(said)}" if said else ""


def _of_scheduler(scheduler: Mapping[str, Any], iterations: list[int]) -> list[str]:
    own = {"T_period": iterations, "restarts": iterations, "weights": [1]}
    other = [key for key in own if scheduler["args"][key] not in (None, own[key])]
    if scheduler["name"] not in (None, *COSINES):
        other.insert(0, "name")
    counts = " and ".join(map(str, iterations))
    done = f"(one cosine over iter_max, {counts} iterations, is what is done)"
    return [f"{' and '.join(other)} of lr_scheduler {done}"] if other else []


def _merge(into: dict[str, Any], given: Mapping[str, Any], where: str, prefix: str) -> None:
    for key, value in given.items():
        name = f"{prefix}{key}"
        if name == AUGMENT and value is None:
            into[key] = []
        elif name in FREE:
            into[key] = _updated(into[key], value)
        elif key not in into:
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
