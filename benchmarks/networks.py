"""The networks that are measured: checkpoints found or made, and their bundles, exported once."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from torch import nn

import pcsr
from pcsr.bundle import is_bundle
from pcsr.calibration.precision.calibration import PrecisionOptions, calibrate_precision
from pcsr.errors import UsageError
from pcsr.export.exporter import ExportOptions, export_bundle
from pcsr.models import PCSR, make_backbone
from pcsr.models.checkpoint import describe, read_file
from pcsr.models.recognition.spandrel_networks import is_installed

from .callers import Files
from .contenders import SCALE
from .environment import ROOT, source_hash

OWN = ROOT / "training" / "checkpoints"
CONFIGS = ROOT / "training" / "configs"
EXPORTING = ("export/**/*.py", "models/**/*.py", "pcsr/manifest.py")
CALIBRATING = (*EXPORTING, "calibration/precision/*.py")
CALIBRATED_ON = ("astronaut", "coffee", "chelsea", "rocket")
"""Photos of scikit-image by which int8 graphs are made."""
Say = Callable[[str], object]


@dataclass(frozen=True)
class Networks:
    """Holds the files of one model."""

    files: Files
    weights: tuple[str, str]
    """Names of the checkpoints, PCSR first."""
    is_trained: bool
    """Whether the classifier of the PCSR network has learnt anything."""

    @property
    def key(self) -> str:
        """Names the weights and the sources that exported them."""
        return f"{Path(self.files.pcsr_bundle).name} {Path(self.files.plain_bundle).name}"


def find_networks(
    model: str, checkpoints: Path, cache: Path, say: Say, precisions: Sequence[str] = ("fp32",)
) -> Networks:
    """Finds the PCSR and the plain network of a model, both as checkpoint and as bundle in `cache`:
    those in `checkpoints`, this project's own, or random ones of the published shape. int8 is
    calibrated, the PCSR network's alone, which takes minutes the first time.

    Raises:
        CheckpointError, VerificationError, OutputError: as `export_bundle`.
    """
    pcsr_ckpt = _pcsr_checkpoint(model, checkpoints, cache, say)
    random_x4, known = f"{model}-x4-random.pth", [checkpoints / f"{model}-x4.pth"]
    plain_ckpt = _found_or_made(known, cache / random_x4, partial(random_plain, model), say)
    # OpenVINO makes bf16 of the graphs in fp32; the plain CARN would not pass the exporter's limit.
    exported = [precision for precision in precisions if precision not in ("int8", "bf16")]
    bundles = [
        _bundle(pcsr_ckpt, cache, precisions, say),
        _bundle(plain_ckpt, cache, exported, say),
    ]
    return Networks(
        files=Files(*map(str, (*bundles, pcsr_ckpt, plain_ckpt))),
        weights=(pcsr_ckpt.name, plain_ckpt.name),
        is_trained="random" not in pcsr_ckpt.name,
    )


def find_pcsr(model: str, checkpoints: Path, cache: Path, say: Say) -> Path:
    """Finds the bundle of the PCSR network alone, in fp32, as `find_networks` does."""
    return _bundle(_pcsr_checkpoint(model, checkpoints, cache, say), cache, ("fp32",), say)


def bundle_name(ckpt: Path, precisions: Sequence[str] = ("fp32",)) -> str:
    """Says which weights, which sources and, beside fp32, which precisions made a bundle."""
    weights = hashlib.sha256(read_file(ckpt)).hexdigest()
    sources = source_hash(CALIBRATING if "int8" in precisions else EXPORTING)
    name = f"{ckpt.stem}-{weights[:12]}-{pcsr.__version__}-{sources[:12]}"
    return "-".join([name, *(precision for precision in precisions if precision != "fp32")])


def random_pcsr(model: str) -> dict[str, Any]:
    """Makes a PCSR checkpoint of the published shape and format, the same every time."""
    torch.manual_seed(0)
    config = CONFIGS / f"{model}-pcsr-x4-div2k.yaml"
    published = yaml.safe_load(config.read_text(encoding="utf-8"))["model"]
    shape = describe(published["name"], published["args"])
    backbone = make_backbone(shape.backbone, shape.backbone_args)
    network = PCSR(backbone, shape.upsamplers, shape.classifier_widths)
    _calm(network)
    return {"model": published | {"sd": network.state_dict()}}


@torch.no_grad()
def _calm(network: PCSR) -> None:
    """Halves what the upsamplers add. The classifier has learnt nothing, so that rounding moves
    many of its pixels under ADM: an image must not differ by much where it does.
    """
    for upsampler in network.upsamplers:
        last = [layer for layer in upsampler.modules() if isinstance(layer, nn.Linear)][-1]
        for parameter in last.parameters():
            parameter.mul_(0.5)


def random_plain(model: str) -> dict[str, Any]:
    """Makes a checkpoint of the plain network of the published shape, the same every time."""
    torch.manual_seed(0)
    args = {"no_upsampling": False}  # all else is published as it is by default
    weights = make_backbone(model, args).state_dict()
    return {"model": {"name": model, "args": args, "sd": weights}}


def _pcsr_checkpoint(model: str, checkpoints: Path, cache: Path, say: Say) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    random = f"{model}-pcsr-random.pth"
    known = [checkpoints / f"{model}-pcsr.pth", checkpoints / random, OWN / f"{model}-pcsr-x4.pth"]
    return _found_or_made(known, cache / random, partial(random_pcsr, model), say)


def _bundle(ckpt: Path, cache: Path, precisions: Sequence[str], say: Say) -> Path:
    bundle = cache / bundle_name(ckpt, precisions)
    if is_bundle(bundle):
        return bundle
    exported = tuple(precision for precision in precisions if precision != "int8")
    if exported == tuple(precisions):
        export_bundle(ckpt, bundle, ExportOptions(precisions=exported), say)
        return bundle
    with TemporaryDirectory(dir=cache) as folder:  # the name is that of a bundle with int8 graphs
        made = Path(folder) / "bundle"
        export_bundle(ckpt, made, ExportOptions(precisions=exported), say)
        say(f"{ckpt.stem}: calibrating int8, which takes minutes")
        calibrate_precision(made, sample_photos(Path(folder)), PrecisionOptions())
        made.rename(bundle)
    return bundle


def sample_photos(folder: Path) -> list[Path]:
    """Writes the photos that int8 is calibrated on, and returns their paths."""
    from skimage import data, io

    paths = [folder / f"{name}.png" for name in CALIBRATED_ON]
    for path in paths:
        io.imsave(path, getattr(data, path.stem)(), check_contrast=False)
    return paths


def find_span(cache: Path, say: Say) -> Path:
    """Finds a bundle of SPAN, as a modern static network of the same use: random weights."""
    return _bundle(random_of_spandrel("span", cache), cache, ("fp32",), say)


def random_of_spandrel(name: str, cache: Path) -> Path:
    """Makes a checkpoint of `span` or `compact` with random weights, of the sizes that are used.

    Raises:
        UsageError: spandrel is not installed.
    """
    if (
        not is_installed()
    ):  # imports it, where it can be, even beside a torchvision of another build
        raise UsageError("SPAN and Compact need spandrel; run pip install 'pcsr[spandrel]'")
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.SPAN import SPAN

    def make() -> dict[str, Any]:
        torch.manual_seed(0)
        if name == "span":
            net = SPAN(num_in_ch=3, num_out_ch=3, feature_channels=48, upscale=SCALE)
        else:
            net = Compact(num_feat=64, num_conv=16, upscale=SCALE)
        return {"params": net.state_dict()}

    return _found_or_made([], cache / f"{name}-random.pth", make, lambda text: None)


def _found_or_made(
    paths: Sequence[Path], path: Path, make: Callable[[], dict[str, Any]], say: Say
) -> Path:
    """Gives the first of the paths that is a file; without any, what is made at `path`, once."""
    found = next((one for one in paths if one.is_file()), path)
    if not found.exists():
        say(f"no published weights: making {found.name}, random ones of the published shape")
        torch.save(make(), found)
    return found
