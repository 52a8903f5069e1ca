"""A training run that takes a second: a tiny network on random photos."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pcsr.images import Picture, write
from pcsr.training.config import Config, load_config

LIIF: dict[str, Any] = {"name": "liif-sampler"}
PLAIN: dict[str, Any] = {"name": "imdn", "args": {"nf": 20, "nb": 1, "scale": 2}}


def sampler(*widths: int) -> dict[str, Any]:
    return {**LIIF, "args": {"imnet_spec": {"name": "mlp", "args": {"hidden_list": list(widths)}}}}


def model(upsamplers: int) -> dict[str, Any]:
    encoder = {"name": "fsrcnn", "args": {"d": 6, "s": 4, "m": 1, "no_upsampling": True}}
    args: dict[str, Any] = {"encoder_spec": encoder, "classifier_spec": sampler(4)}
    if upsamplers == 2:
        args |= {"heavy_sampler_spec": sampler(8, 8), "light_sampler_spec": sampler(4)}
        return {"name": "pcsr-phase1", "args": args}
    args["sampler_specs"] = [sampler(8, 8), sampler(6), sampler(4)][:upsamplers]
    return {"name": "pcsr", "args": args}


def photos(folder: Path) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        blocks = random.integers(0, 256, (9, 11, 3), dtype=np.uint8)
        write(Picture(blocks.repeat(6, axis=0).repeat(6, axis=1)), folder / f"{name}.png")
    return folder


def config(folder: Path, upsamplers: int = 2, *overrides: str) -> Config:
    return load_config(write_config(folder, model(upsamplers)), overrides)


def plain_config(folder: Path, *overrides: str) -> Config:
    return load_config(write_config(folder, PLAIN), overrides)


def write_config(folder: Path, model: dict[str, Any]) -> Path:
    root = folder / "photos"
    data = {"dataset": {"name": "image-folder", "args": {"root_path": str(root)}}}
    text = {
        "train_dataset": {
            **data,
            "wrapper": {"args": {"inp_size": 8, "scale": [2, 2], "sample_q": 64}},
            "batch_size": 2,
        },
        "valid_dataset": data,
        "model": model,
        "iter_max": 6,
        "iter_val": 100,
        "iter_save": 2,
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(text))
    if not root.exists():
        photos(root)
    return file
