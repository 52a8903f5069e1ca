"""Runs each network as a call: an image [h, w, 3] uint8 in, the upscaled one out, both an array, or
both a tensor on the GPU.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.callers import FOREIGN, Files, Place, load_network, to_bytes, to_planes
from benchmarks.contenders import OPENVINO, SCALE, other_libraries
from benchmarks.environment import ROOT
from benchmarks.networks import bundle_name, find_networks, random_of_spandrel
from pcsr import Upscaler
from pcsr.bundle import is_bundle
from pcsr.errors import UsageError
from pcsr.export.exporter import ExportOptions, export_bundle
from pcsr.models import PCSR
from pcsr.models.liif import pixel_centres
from pcsr.models.recognition.spandrel_networks import is_installed
from pcsr.runtime.geometry.grid import Grid
from pcsr.runtime.profiler.measuring.calls import Caller

QUERIES = 30_000  # at a time, as `batched_predict` of the authors' code
CACHE = ROOT / "benchmarks" / "cache"
PCSR_MODES: Mapping[str, dict[str, Any]] = {
    "k = 0": {"k": 0.0},
    "ADM": {"adaptive": True},
    "all heavy": {"heavy_ratio": 1.0},
    "all light": {"heavy_ratio": 0.0},
}
RANDOM = ("SPAN", "Compact")
Call = Callable[[Any], Any]
Say = Callable[[str], object]


def authors_form(ckpt: Path, scale: float, place: Place) -> Call:
    """Makes what the authors' code does: features once, then chunks of queries, each of which
    unfolds the features and is evaluated at four neighbours. float32.
    """
    network = load_network(str(ckpt))
    if not isinstance(network, PCSR) or len(network.upsamplers) != 1:
        raise UsageError(f"{ckpt} is not a LIIF checkpoint: it has no upsampler, or several")
    device = torch.device(place.device)
    network = network.to(device)
    upsampler, mean, std = network.upsamplers[0], network.mean, network.std

    @torch.inference_mode()
    def run(image: Tensor) -> Tensor:
        size = Grid.make((image.shape[0], image.shape[1]), scale).hr_size
        features = network.encoder((to_planes(image) - mean) / std)
        queries = pixel_centres(size).to(device).view(1, -1, 2)
        cell = torch.tensor([2 / size[0], 2 / size[1]], device=device)
        chunks = torch.split(queries, QUERIES, dim=1)
        colours = torch.cat([upsampler(features, chunk, cell) for chunk in chunks], dim=1)
        return to_bytes(colours.transpose(1, 2).reshape(1, 3, *size) * std + mean)

    def call(image: Any) -> Any:  # noqa: ANN401
        return run(image) if isinstance(image, Tensor) else run(torch.from_numpy(image)).numpy()

    return call


def bundle_calls(
    name: str, ckpt: Path, scale: float, place: Place, say: Say
) -> Iterator[tuple[str, Call]]:
    """Yields what the runtime does with a checkpoint, in each mode that it has, by names that tell
    precisions below fp32.
    """
    upscaler = Upscaler(
        exported(ckpt, place.precision, say),
        place.device,
        precision=place.precision,
        threads=place.threads,
    )
    modes = PCSR_MODES if upscaler.bundle.upsamplers > 1 else {"": {}}
    for mode, options in modes.items():

        def call(image: Any, options: Mapping[str, Any] = options) -> Any:  # noqa: ANN401
            return upscaler(image, scale, **options).image

        yield _named(name, mode, place.precision), call


def _named(*parts: str) -> str:
    return ", ".join(part for part in parts if part and part != "fp32")


def exported(ckpt: Path, precision: str, say: Say) -> Path:
    """Exports a checkpoint in fp32 and this precision, unless the cache has its bundle."""
    CACHE.mkdir(parents=True, exist_ok=True)
    precisions = tuple(dict.fromkeys(("fp32", precision)))
    bundle = CACHE / bundle_name(ckpt, precisions)
    if not is_bundle(bundle):
        export_bundle(ckpt, bundle, ExportOptions(precisions=precisions), say)
    return bundle


def other_calls(checkpoints: Path, place: Place, say: Say) -> Iterator[tuple[str, Call]]:
    """Yields CARN, as PCSR and plain, and two plain networks of today, where spandrel is there: all
    at scale 4.
    """
    carn = find_networks("carn", checkpoints, CACHE, say).files
    calls = bundle_calls("CARN-PCSR", Path(carn.pcsr_ckpt), SCALE, place, say)
    yield next((name, call) for name, call in calls if "ADM" in name)
    yield from _plain_calls("CARN", Path(carn.plain_ckpt), place, say)
    if not is_installed():
        say("spandrel is not installed: without SPAN and Compact (pip install '.[spandrel]')")
        return
    for name in RANDOM:
        yield from _plain_calls(name, random_of_spandrel(name.lower(), CACHE), place, say)


def _plain_calls(name: str, ckpt: Path, place: Place, say: Say) -> Iterator[tuple[str, Call]]:
    """Runs a plain network without this project's runtime: in fp32 by ONNX Runtime, and in what it
    has by OpenVINO; on a GPU by this runtime.
    """
    if place.device != "cpu":
        yield from bundle_calls(f"{name}, this runtime", ckpt, SCALE, place, say)
        return
    bundle = str(exported(ckpt, "fp32", say))  # OpenVINO makes bf16 of it
    files = Files(bundle, bundle, str(ckpt), str(ckpt))
    libraries = {"plain-session": "ONNX Runtime"} if place.precision == "fp32" else {}
    if "openvino" in other_libraries() and place.precision in OPENVINO:
        libraries["plain-openvino"] = "OpenVINO"
    for family, library in libraries.items():
        caller = FOREIGN[family](files, place)

        def call(image: Any, caller: Caller = caller) -> Any:  # noqa: ANN401
            return caller(image, {}).image

        yield _named(name, library, place.precision), call
