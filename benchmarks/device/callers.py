"""What each engine runs: an image [h, w, 3] uint8 in, its upscaled image out.

Tensors on the device stay there and nothing waits for them; NumPy arrays come back as such.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.engines import PIXEL_BATCH_SIZE, SCALE, Files, load_network
from benchmarks.tensors import to_bytes, to_planes
from pcsr import Upscaler

from .contenders import Engine, Options

TYPES = {"fp16": torch.float16, "fp32": torch.float32}
WARM_UPS = 3  # before a recording


@dataclass(frozen=True)
class Details:
    """What a call tells of itself. pixels: per upsampler, heaviest first. threshold: difficulty
    above which pixels were heavy.
    """

    pixels: tuple[int, ...] = ()
    threshold: float | None = None
    stage_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """image: [H, W, 3] uint8, an array or a tensor as was given. details: waits for the device."""

    image: Any
    details: Callable[[], Details] = Details


Caller = Callable[[Any, Options], Answer]


def make_caller(engine: Engine, files: Files, precision: str, device: torch.device) -> Caller:
    """Loads the network. What it raises is a row's result."""
    if engine.backend:
        return _upscaler(engine, files, precision, device)
    if engine.family == "published":
        return _published(files, precision, device)
    network = load_network(Path(files.plain_ckpt))
    network = network.to(device, TYPES[precision])
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def upscale(image: Tensor) -> Tensor:
        planes = to_planes(image).to(TYPES[precision], memory_format=torch.channels_last)
        return to_bytes(network(planes))

    if engine.family == "plain-compiled":
        return _on_tensors(Replayed(torch.compile(upscale)), device)
    return _on_tensors(upscale, device)


def open_upscaler(engine: Engine, bundle: str, precision: str, device: torch.device) -> Upscaler:
    """The bundle as one of our engines runs it."""
    return Upscaler(
        bundle,
        device=str(device),
        backend=engine.backend,
        precision=precision,
        passes=engine.passes,
        cuda_graphs=engine.cuda_graphs,
    )


class Replayed:
    """A function of one image, replayed from a CUDA graph; for one shape."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, image: Tensor) -> Tensor:
        if not image.is_cuda:
            return self._function(image)
        if self._graph is None:
            self._record(image)
        assert self._graph is not None
        self._image.copy_(image)
        self._graph.replay()
        return self._out.clone()

    def _record(self, image: Tensor) -> None:
        self._image = image.clone()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._function(self._image)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._out = self._function(self._image)
        self._graph = graph


def _upscaler(engine: Engine, files: Files, precision: str, device: torch.device) -> Caller:
    bundle = files.plain_bundle if engine.family == "plain" else files.pcsr_bundle
    upscaler = open_upscaler(engine, bundle, precision, device)

    def call(image: Any, options: Options) -> Answer:  # noqa: ANN401
        result = upscaler(image, scale=SCALE, **options)  # type: ignore[arg-type]

        def details() -> Details:
            stats = result.stats
            return Details(stats.pixels_per_upsampler, stats.threshold, dict(stats.stage_ms))

        return Answer(result.image, details)

    return call


def _published(files: Files, precision: str, device: torch.device) -> Caller:
    """In fp16 by autocast, as one does with a network of this form."""
    network = load_network(Path(files.pcsr_ckpt)).to(device)
    is_half = precision == "fp16"

    def call(image: Any, options: Options) -> Answer:  # noqa: ANN401
        given = image if isinstance(image, Tensor) else torch.from_numpy(image).to(device)
        with torch.inference_mode(), torch.autocast(device.type, torch.float16, enabled=is_half):
            batch = to_planes(given)
            found = network(batch, SCALE, pixel_batch_size=PIXEL_BATCH_SIZE, **options)
            out = to_bytes(found.image)

        def details() -> Details:
            return Details(tuple(torch.bincount(found.assignment.flatten(), minlength=2).tolist()))

        return Answer(out if isinstance(image, Tensor) else out.cpu().numpy(), details)

    return call


def _on_tensors(upscale: Callable[[Tensor], Tensor], device: torch.device) -> Caller:
    def call(image: Any, options: Options) -> Answer:  # noqa: ANN401
        with torch.inference_mode():
            if isinstance(image, Tensor):
                return Answer(upscale(image))
            return Answer(upscale(torch.from_numpy(image).to(device)).cpu().numpy())

    return call
