"""Defines what each implementation runs, as a caller: an image [h, w, 3] uint8 in, its upscaled one
out.

Tensors on the device stay there and nothing waits for them; NumPy arrays come back as such. Every
caller imports what it needs when it is opened, so that the memory of one is not that of all.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcsr.runtime.profiler.measuring.calls import (
    Answer,
    Caller,
    CallOptions,
    Details,
    upscaler_caller,
)
from pcsr.runtime.timing import Stopwatch

from .contenders import OPENVINO, SCALE, Implementation
from .replayed import recorded_caller

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pcsr import Upscaler
    from pcsr.models import PCSR, PlainNetwork

PIXEL_BATCH_SIZE = 300_000  # of the published test script
TYPES = {"fp16": "float16", "fp32": "float32"}


@dataclass(frozen=True)
class Files:
    """Holds the paths of one model: bundles and checkpoints, of its PCSR and its plain form."""

    pcsr_bundle: str
    plain_bundle: str
    pcsr_ckpt: str
    plain_ckpt: str
    span_bundle: str = ""
    """SPAN at the same scale, random weights; empty where nobody asks for it."""

    def bundle(self, is_pcsr: bool) -> str:
        """Gives the bundle of either form."""
        return self.pcsr_bundle if is_pcsr else self.plain_bundle


@dataclass(frozen=True)
class Place:
    """Says where and how a network runs. The fields are those of `Upscaler`."""

    device: str = "cpu"
    precision: str = "fp32"
    threads: int | None = None


def open_caller(implementation: Implementation, files: Files, place: Place) -> Caller:
    """Loads the network. What it raises is a row's result."""
    place = replace(place, precision=implementation.precision or place.precision)
    if implementation.family not in FOREIGN:
        bundle = files.bundle(implementation.is_pcsr)
        return upscaler_caller(open_upscaler(implementation, bundle, place), scale=SCALE)
    return FOREIGN[implementation.family](files, place)


def open_in_process(implementation: dict[str, Any], files: dict[str, str], threads: int) -> Caller:
    """Does the same with JSON values, on the CPU."""
    return open_caller(Implementation(**implementation), Files(**files), Place(threads=threads))


def open_upscaler(implementation: Implementation, bundle: str, place: Place) -> "Upscaler":
    """Opens a bundle as one of our implementations runs it."""
    from pcsr import Upscaler

    return Upscaler(
        bundle,
        place.device,
        implementation.backend,
        place.precision,
        place.threads,
        passes=implementation.passes,
        cuda_graphs=implementation.cuda_graphs,
    )


def load_network(ckpt: str) -> "PCSR | PlainNetwork":
    """Loads the network of a checkpoint, in PyTorch on the CPU."""
    from pcsr.export.network import NetworkSettings, build_network, completed
    from pcsr.models.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(Path(ckpt))
    return build_network(checkpoint, completed(NetworkSettings(), checkpoint))


def _published(files: Files, place: Place) -> Caller:
    """Runs fp16 by autocast, as one does with a network of this form."""
    import torch

    device = _torch_device(place)
    network = load_network(files.pcsr_ckpt).to(device)

    def run(planes: "Tensor", options: CallOptions) -> "tuple[Tensor, Tensor]":
        autocast = torch.autocast(device.type, torch.float16)
        with nullcontext() if place.precision == "fp32" else autocast:
            done = network(planes, SCALE, pixel_batch_size=PIXEL_BATCH_SIZE, **options)
        return done.image, done.assignment

    return _eager(run, device)


def _plain_eager(files: Files, place: Place) -> Caller:
    run = _plain_network(files, place)
    return _eager(lambda planes, options: (run(planes), None), _torch_device(place))


def _plain_compiled(files: Files, place: Place) -> Caller:
    """Compiles in the default mode: `max-autotune` tries kernels for minutes, and a GPU's own
    convolutions, which both take, are most of the time.
    """
    import torch

    run = _plain_network(files, place)
    compiled = torch.compile(lambda image: to_bytes(run(to_planes(image))))
    return recorded_caller(compiled, _torch_device(place))


def _backbone_compiled(files: Files, place: Place) -> Caller:
    """Compiles the backbone likewise, conversion and normalisation included."""
    import torch

    network = _on_device(load_network(files.pcsr_ckpt), place)
    dtype, mean, std = getattr(torch, TYPES[place.precision]), network.mean, network.std

    def run(image: "Tensor") -> "Tensor":
        features: Tensor = network.encoder((to_planes(image).to(dtype) - mean) / std)
        return features

    return recorded_caller(torch.compile(run), _torch_device(place), is_copied=False)


def _backbone(files: Files, place: Place) -> Caller:
    """Runs the bundle's backbone as backend `torch` does."""
    from pcsr.bundle import Bundle
    from pcsr.runtime.torch_backend.module import OnnxModule

    bundle, device = Bundle.load(files.pcsr_bundle), _torch_device(place)
    graph = bundle.graph_bytes(bundle.image_role, place.precision)
    module = OnnxModule(graph, device, [bundle.image_output])
    return recorded_caller(lambda image: module(to_planes(image))[0], device, is_copied=False)


def _network(bundle: str) -> bytes:
    from pcsr.bundle import Bundle

    return Bundle.load(bundle).graph_bytes("network")


def _plain_session(files: Files, place: Place) -> Caller:
    return _session(_network(files.plain_bundle), place)


def _span_session(files: Files, place: Place) -> Caller:
    return _session(_network(files.span_bundle), place)


def _plain_openvino(files: Files, place: Place) -> Caller:
    return _openvino(_network(files.plain_bundle), place)


def _span_openvino(files: Files, place: Place) -> Caller:
    return _openvino(_network(files.span_bundle), place)


def _single_file(files: Files, place: Place, k: float | None) -> Caller:
    """Runs the one graph that `pcsr-export --single-file` writes, as another program does."""
    from pcsr.bundle import Bundle
    from pcsr.export.single_file.graph import Baked, build_graph

    bundle = Bundle.load(files.pcsr_bundle)
    graph = build_graph(bundle, Baked(SCALE, k, bundle.manifest.refine))
    return _session(graph.SerializeToString(), place)


def _session(graph: bytes, place: Place) -> Caller:
    """Runs what one has without this project: a default session."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = place.threads or 0
    session = ort.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
    return _static(lambda planes: session.run(None, {"image": planes})[0])


def _openvino(graph: bytes, place: Place) -> Caller:
    """Runs a graph as OpenVINO's guide for latency says, without copies of tensors."""
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": OPENVINO[place.precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": place.threads or 0,
    }
    core = openvino.Core()
    request = core.compile_model(core.read_model(graph), "CPU", settings).create_infer_request()
    shared = {"share_inputs": True, "share_outputs": True}
    return _static(lambda planes: request.infer({0: planes}, **shared)[0])


def _static(run: Callable[[Any], Any]) -> Caller:
    """Makes a caller of a network [1, 3, h, w] -> [1, 3, H, W] float32, conversions in NumPy."""

    def call(image: Any, options: CallOptions) -> Answer:  # noqa: ANN401
        watch = Stopwatch()
        with watch.stage("to float"):
            planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)
            planes /= 255
        with watch.stage("network"):
            upscaled = run(planes)
        with watch.stage("to bytes"):
            levels = np.rint(upscaled[0] * 255)
            pixels = np.clip(levels, 0, 255).astype(np.uint8).transpose(1, 2, 0)
            out = np.ascontiguousarray(pixels)
        return Answer(out, lambda: Details(stage_ms=watch.stage_ms))

    return call


def _bicubic(files: Files, place: Place) -> Caller:
    from pcsr.metrics import bicubic_resize

    return lambda image, options: Answer(
        bicubic_resize(image, image.shape[0] * SCALE, image.shape[1] * SCALE)
    )


FOREIGN: dict[str, Callable[[Files, Place], Caller]] = {
    "published": _published,
    "plain-session": _plain_session,
    "plain-openvino": _plain_openvino,
    "span-session": _span_session,
    "span-openvino": _span_openvino,
    "single-file-k0": partial(_single_file, k=0.0),
    "single-file-adm": partial(_single_file, k=None),
    "plain-eager": _plain_eager,
    "plain-compiled": _plain_compiled,
    "backbone": _backbone,
    "backbone-compiled": _backbone_compiled,
    "bicubic": _bicubic,
}


def _torch_device(place: Place) -> "torch.device":
    import torch

    if place.threads:
        torch.set_num_threads(place.threads)
    return torch.device(place.device)


def _order(place: Place) -> "torch.memory_format":
    """Gives channels last on a GPU, as one has it there."""
    import torch

    is_cuda = _torch_device(place).type == "cuda"
    return torch.channels_last if is_cuda else torch.contiguous_format


def _on_device(network: Any, place: Place) -> Any:  # noqa: ANN401
    import torch

    network = network.to(_torch_device(place), getattr(torch, TYPES[place.precision]))
    return network.to(memory_format=_order(place))


def _plain_network(files: Files, place: Place) -> "Callable[[Tensor], Tensor]":
    """Upscales [1, 3, h, w] float32."""
    import torch

    dtype, order = getattr(torch, TYPES[place.precision]), _order(place)
    network = _on_device(load_network(files.plain_ckpt), place)

    return lambda planes: network(planes.to(dtype, memory_format=order))


def _eager(
    run: "Callable[[Tensor, CallOptions], tuple[Tensor, Tensor | None]]", device: "torch.device"
) -> Caller:
    """Makes a caller. run: planes [1, 3, h, w] -> upscaled ones, and their assignment if routed."""
    import torch

    def call(image: Any, options: CallOptions) -> Answer:  # noqa: ANN401
        watch = Stopwatch()
        stage: Callable[[str], Any] = watch.stage if device.type == "cpu" else nullcontext
        is_array = isinstance(image, np.ndarray)
        with torch.inference_mode():
            with stage("to float"):
                planes = to_planes(torch.from_numpy(image).to(device) if is_array else image)
            with stage("network"):
                upscaled, assignment = run(planes, options)
            with stage("to bytes"):
                out = to_bytes(upscaled)
                whole = out.cpu().numpy() if is_array else out
        return Answer(whole, partial(_details, assignment, watch))

    return call


def _details(assignment: "Tensor | None", watch: Stopwatch) -> Details:
    import torch

    found = () if assignment is None else torch.bincount(assignment.flatten(), minlength=2).tolist()
    return Details(tuple(found), stage_ms=watch.stage_ms)


def to_planes(image: "Tensor") -> "Tensor":
    """Turns [h, w, 3] uint8 into [1, 3, h, w] float32 in [0, 1], on any device."""
    return image.permute(2, 0, 1)[None].float() / 255


def to_bytes(upscaled: "Tensor") -> "Tensor":
    """Turns [1, 3, H, W] in [0, 1] into [H, W, 3] uint8, contiguous."""
    import torch

    levels = (upscaled[0] * 255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous()
