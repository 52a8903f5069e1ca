"""What each contender runs: an image [h, w, 3] uint8 in, its upscaled image out, likewise.

Every engine imports what it needs when it is made, so that the memory of one is not that of all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pcsr.runtime.timing import Stopwatch

from .lineup import EngineName, Options

if TYPE_CHECKING:
    import torch

    from pcsr.models import PCSR, PlainNetwork

Image = NDArray[np.uint8]
SCALE = 4
PIXEL_BATCH_SIZE = 300_000  # of the published test script


@dataclass(frozen=True)
class Output:
    """One call. total_ms: from bytes to bytes. pixels_per_upsampler: heaviest first; empty without
    routing. threshold: the difficulty above which pixels were heavy, where the engine says it.
    """

    image: Image
    total_ms: float
    stage_ms: Mapping[str, float]
    pixels_per_upsampler: tuple[int, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True)
class Files:
    """Paths of one model: bundles and checkpoints, of its PCSR and its plain form."""

    pcsr_bundle: str
    plain_bundle: str
    pcsr_ckpt: str
    plain_ckpt: str


Engine = Callable[[Image, Options], Output]


def make_engine(name: EngineName, files: Files, threads: int) -> Engine:
    """An engine, ready to be called."""
    return MAKERS[name](files, threads)


def _pcsr(files: Files, threads: int) -> Engine:
    from pcsr import Upscaler

    upscaler = Upscaler(files.pcsr_bundle, threads=threads)

    def run(image: Image, options: Options) -> Output:
        watch = Stopwatch()
        result = upscaler(image, scale=SCALE, **options)  # type: ignore[arg-type]
        total_ms = watch.total_ms
        stats = result.stats
        return Output(
            result.image, total_ms, stats.stage_ms, stats.pixels_per_upsampler, stats.threshold
        )

    return run


def _plain_ort(files: Files, threads: int) -> Engine:
    """What one does without this project: a session with default options, conversions in NumPy."""
    import onnxruntime as ort

    from pcsr.bundle import Bundle

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    graph = Bundle.load(files.plain_bundle).graph_bytes("network")
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(image: Image, options: Options) -> Output:
        watch = Stopwatch()
        with watch.stage("to float"):
            planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)
            planes /= 255
        with watch.stage("network"):
            upscaled = session.run(None, {"image": planes})[0]
        with watch.stage("to bytes"):
            levels = np.rint(upscaled[0] * 255)
            pixels = np.clip(levels, 0, 255).astype(np.uint8).transpose(1, 2, 0)
            out = np.ascontiguousarray(pixels)
        return Output(out, watch.total_ms, watch.stage_ms)

    return run


def _plain_eager(files: Files, threads: int) -> Engine:
    network = _network(Path(files.plain_ckpt), threads)

    def run(image: Image, options: Options) -> Output:
        return _run_eager(image, lambda tensor: (network(tensor), ()))

    return run


def _eager(files: Files, threads: int) -> Engine:
    network = _network(Path(files.pcsr_ckpt), threads)

    def run(image: Image, options: Options) -> Output:
        def call(tensor: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
            done = network(tensor, SCALE, pixel_batch_size=PIXEL_BATCH_SIZE, **options)
            return done.image, done.assignment

        return _run_eager(image, call)

    return run


def _bicubic(files: Files, threads: int) -> Engine:
    from pcsr.metrics import bicubic_resize

    def run(image: Image, options: Options) -> Output:
        watch = Stopwatch()
        height, width = (side * SCALE for side in image.shape[:2])
        out = bicubic_resize(image, height, width)
        return Output(out, watch.total_ms, {})

    return run


MAKERS: Mapping[EngineName, Callable[[Files, int], Engine]] = {
    "pcsr": _pcsr,
    "eager": _eager,
    "plain-ort": _plain_ort,
    "plain-eager": _plain_eager,
    "bicubic": _bicubic,
}


def _network(ckpt: Path, threads: int) -> "PCSR | PlainNetwork":
    import torch

    torch.set_num_threads(threads)
    return load_network(ckpt)


def load_network(ckpt: Path) -> "PCSR | PlainNetwork":
    """The network of a checkpoint, in PyTorch on the CPU."""
    from pcsr.export.network import NetworkSettings, build_network, completed
    from pcsr.models.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(ckpt)
    return build_network(checkpoint, completed(NetworkSettings(), checkpoint))


def _run_eager(
    image: Image,
    call: "Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor | tuple[()]]]",
) -> Output:
    """call: an image [1, 3, h, w] -> the upscaled one and its assignment, () without routing."""
    import torch

    from .tensors import to_bytes, to_planes

    watch = Stopwatch()
    with torch.inference_mode():
        with watch.stage("to float"):
            tensor = to_planes(torch.from_numpy(image))
        with watch.stage("network"):
            upscaled, assignment = call(tensor)
        with watch.stage("to bytes"):
            out = to_bytes(upscaled).numpy()
    total_ms, counts = watch.total_ms, ()
    if isinstance(assignment, torch.Tensor):
        counts = tuple(torch.bincount(assignment.flatten(), minlength=2).tolist())
    return Output(out, total_ms, watch.stage_ms, counts)
