"""What is fuzzed: how a case of each format is made, and how it is used."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pcsr import images
from pcsr.errors import ImageError

from . import bundles, files

Make = Callable[[Path, Path, random.Random], None]
Use = Callable[[Path, random.Random], None]
MAX_PIXELS = 2**22


class WrongResultError(Exception):
    """A case was taken, and what came of it is no result."""


@dataclass(frozen=True)
class Format:
    """A kind of file from somebody else."""

    name: str
    make: Make
    """Writes a mutated file or bundle into a folder."""
    use: Use
    """Opens and uses what lies in the folder, as a user would."""
    computes: bool = False
    """Whether that runs the compiled passes."""


def use_bundle(folder: Path, rng: random.Random) -> None:
    """Upscales a small image, by a backend and a way of routing that the case chooses."""
    import numpy as np

    from pcsr import Upscaler

    backend = rng.choice(("auto", "auto", "onnxruntime"))
    upscaler = Upscaler(folder / "bundle", threads=1, backend=backend)
    image = np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    routing = rng.choice(({}, {"adaptive": True}, {"heavy_ratio": 0.3}, {"k": 1.0}))
    if upscaler.bundle.kind == "plain":
        routing = {}
    scale = upscaler.bundle.manifest.trained_scale
    if image.size * scale**2 > 2**26:  # a scale that a caller would see
        return
    result = upscaler(image.astype(np.float32) / 255, **routing)
    if result.image.shape != (round(9 * scale), round(16 * scale), 3):
        raise WrongResultError(f"the image is {result.image.shape} at scale {scale}")
    if not np.isfinite(result.image).all():
        raise WrongResultError("the image holds NaN or infinite values")


def use_checkpoint(folder: Path, rng: random.Random) -> None:
    """Builds the network of a checkpoint, as pcsr-export does before it makes graphs."""
    from pcsr.export.network import NetworkSettings, build_network, completed
    from pcsr.models.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(folder / "network.pth")
    build_network(checkpoint, completed(NetworkSettings(), checkpoint))


def use_config(folder: Path, rng: random.Random) -> None:
    """Reads a config as pcsr-train and as pcsr-export do."""
    from pcsr.export.network import read_config
    from pcsr.training.config import load_config

    (read_config if rng.random() < 0.5 else load_config)(folder / "train.yaml")


def use_image(folder: Path, rng: random.Random) -> None:
    """Decodes an image and writes it in another format."""
    (file,) = folder.glob("image.*")
    picture = images.read(file, MAX_PIXELS)
    if picture.pixels.shape[0] * picture.pixels.shape[1] > MAX_PIXELS:
        raise WrongResultError("more pixels than allowed")
    try:
        images.write(picture, folder / rng.choice(("out.png", "out.webp", "out.tiff")))
    except ImageError:  # too large for WebP
        images.write(picture, folder / "large.png")


FORMATS = (
    Format("manifest", bundles.manifest, use_bundle, computes=True),
    Format("npz", bundles.npz, use_bundle, computes=True),
    Format("onnx", bundles.onnx_graph, use_bundle, computes=True),
    Format("checkpoint", files.checkpoint, use_checkpoint),
    Format("config", files.config, use_config),
    Format("image", files.image, use_image),
)


def misbehave(folder: Path, rng: random.Random) -> None:
    """Does, by turns, what no case of the others may do."""
    number = int((folder / "number").read_text())
    if number == 1:
        raise ImageError("expected this, found that; do so")
    if number == 2:
        raise ValueError("a trace")
    if number == 3:
        os.abort()
    if number == 4:
        bytearray(b"x") * (2**30 * 5 // 2)
    if number == 5:
        raise ImageError("two\nlines")


BY_NAME = {form.name: form for form in (*FORMATS, Format("selftest", lambda *_: None, misbehave))}
