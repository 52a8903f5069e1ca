"""The valid files that cases are made of, in one folder."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from pcsr.export.exporter import ExportOptions, export_bundle
from tests import checkpoints

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 17, 4), dtype=np.uint8)
CONFIG: dict[str, Any] = {
    "seed": 3,
    "train_dataset": {"dataset": {"args": {"root_path": "."}}, "batch_size": 2},
    "valid_dataset": {"dataset": {"args": {"root_path": "."}}},
    "data_norm": {"mean": [0.4, 0.4, 0.4], "std": [1.0, 1.0, 1.0]},
    "scale": 4,
    "model": checkpoints.tiny("fsrcnn")["model"] | {"sd": None},
    "optimizer": {"name": "adam", "args": {"lr": 1e-3, "betas": [0.9, 0.99]}},
    "iter_max": [10, 10],
}


def write(folder: Path) -> Path:
    """Writes bundles, checkpoints, a config and images below `folder`."""
    for name, data in {
        "carn": checkpoints.tiny("carn"),
        "fsrcnn": checkpoints.tiny("fsrcnn", 3),
        "mixed": checkpoints.mixed(3),
        "plain": checkpoints.plain_checkpoint("fsrcnn"),
    }.items():
        (folder / "bundles").mkdir(parents=True, exist_ok=True)
        torch.save(data, folder / f"{name}.pth")
        export_bundle(folder / f"{name}.pth", folder / "bundles" / name, ExportOptions())
    config = CONFIG | {"model": {key: CONFIG["model"][key] for key in ("name", "args")}}
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    (folder / "images").mkdir()
    for file, content in _images().items():
        (folder / "images" / file).write_bytes(content)
    return folder


def _images() -> dict[str, bytes]:
    rgba, rgb = Image.fromarray(PHOTO), Image.fromarray(PHOTO[..., :3])
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    made: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "rgba.png": (rgba, {}),
        "palette.png": (rgb.quantize(8), {}),
        "deep.png": (Image.fromarray(PHOTO[..., 0].astype(np.uint16) * 257), {}),
        "photo.jpg": (rgb, {"exif": exif}),
        "progressive.jpg": (rgb.convert("L"), {"progressive": True}),
        "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "lossy.webp": (rgb, {"exif": exif}),
        "alpha.webp": (rgba, {"lossless": True}),
        "deflate.tiff": (rgb, {"compression": "tiff_adobe_deflate"}),
        "float.tiff": (Image.fromarray(PHOTO[..., 0].astype(np.float32) / 255), {}),
        "photo.gif": (rgb.quantize(8), {}),
        "photo.bmp": (rgb, {}),
    }
    out = {}
    for name, (image, options) in made.items():
        file = io.BytesIO()
        image.save(file, name.rpartition(".")[2].replace("jpg", "jpeg"), **options)
        out[name] = file.getvalue()
    return out
