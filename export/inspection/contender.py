"""Opens what the challenge times: a checkpoint's PyTorch network, or the runtime with a bundle."""

import ctypes
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from pcsr.bundle import Bundle
from pcsr.errors import UsageError
from pcsr.export.network import NetworkSettings, build_network, completed
from pcsr.metrics import Pixels
from pcsr.models import PlainNetwork
from pcsr.models.backbones.imdn import collapse
from pcsr.models.checkpoint import read_checkpoint
from pcsr.runtime.profiler.measuring.calls import Answer, Caller, CallOptions
from pcsr.runtime.torch_backend.arithmetic import exact_arithmetic
from pcsr.runtime.upscaler import Upscaler

from .subject import is_folder, kind_of

PEAK = Path("/proc/self/clear_refs")
MMAP_THRESHOLD, LARGE_BLOCK = -3, 2**18  # of mallopt(3); bytes
FORGET_PEAK = "5"  # of proc(5): VmHWM becomes what is resident now


@dataclass(frozen=True)
class Contender:
    """Holds what is timed."""

    name: str
    """What computes it."""
    prepare: Callable[[Pixels], Callable[[], object]]
    """Makes the call that upscales an image [h, w, 3] uint8; what it does itself is not timed."""
    in_torch: bool
    """Whether all its memory on a GPU is PyTorch's."""


@dataclass(frozen=True)
class Entry:
    """Holds what is entered for the challenge: a plain network."""

    path: Path
    form: Literal["checkpoint", "bundle"]
    architecture: str
    scale: float
    network: PlainNetwork | None
    """Of a checkpoint, its collapsible convolutions collapsed; None of a bundle."""


def read_entry(path: Path) -> Entry:
    """Reads the plain network of a checkpoint or a bundle.

    Raises:
        CheckpointError, BundleError: it is neither, or it is damaged.
        UsageError: it holds no plain network.
    """
    return _of_bundle(path) if is_folder(path) else _of_checkpoint(path)


def _of_checkpoint(path: Path) -> Entry:
    checkpoint = read_checkpoint(path)
    network = build_network(checkpoint, completed(NetworkSettings(), checkpoint))
    what = checkpoint.description
    if not isinstance(network, PlainNetwork):
        raise _not_plain(path, [spec.base for spec in what.upsamplers])
    return Entry(path, "checkpoint", what.backbone, float(network.scale), collapse(network))


def _of_bundle(path: Path) -> Entry:
    manifest = Bundle.load(path).manifest
    if manifest.kind != "plain":
        raise _not_plain(path, [each.base for each in manifest.model.upsamplers])
    return Entry(path, "bundle", manifest.model.backbone, manifest.trained_scale, None)


def _not_plain(path: Path, bases: Sequence[str]) -> UsageError:
    kind = "LIIF" if kind_of(bases) == "liif" else "PCSR"
    return UsageError(
        f"{path} holds a {kind} network, and the challenge is for plain networks; measure it with "
        "pcsr-evaluate"
    )


def open_contender(entry: Entry, device: torch.device, threads: int) -> Contender:
    """Opens a bundle in the runtime, in fp32 and with the backend that `auto` stands for, or the
    network of a checkpoint. threads: of the runtime; PyTorch's are those of the process.

    Raises:
        BackendError: the runtime does not load.
    """
    if entry.network is None:
        return _in_runtime(entry.path, device, threads)
    return _in_torch(entry.network, device)


def _in_torch(network: PlainNetwork, device: torch.device) -> Contender:
    network = network.to(device)

    def prepare(pixels: Pixels) -> Callable[[], object]:
        image = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None].float() / 255
        return partial(network, image)

    return Contender(f"PyTorch {torch.__version__}", prepare, in_torch=True)


def _in_runtime(path: Path, device: torch.device, threads: int) -> Contender:
    upscaler = Upscaler(path, device=str(device), threads=threads)

    def prepare(pixels: Pixels) -> Callable[[], object]:
        on_cpu = device.type == "cpu"
        return partial(upscaler, pixels if on_cpu else torch.from_numpy(pixels).to(device))

    name = f"the runtime of pcsr, backend {upscaler.backend}"
    return Contender(name, prepare, in_torch=upscaler.backend == "torch")


@contextmanager
def torch_settings(device: torch.device, threads: int) -> Iterator[None]:
    """Computes with so many threads of PyTorch, on this device, in float32 without TF32 and without
    gradients.
    """
    before = torch.get_num_threads()
    on_gpu = device.type == "cuda"
    there = torch.accelerator.device_index(device.index) if on_gpu else nullcontext()
    torch.set_num_threads(threads)
    try:
        with there, torch.no_grad(), exact_arithmetic():
            yield
    finally:
        torch.set_num_threads(before)


def open_alone(path: str, threads: int) -> Caller:
    """Opens a contender on the CPU in a process of its own, which forgets what that took."""
    _return_memory_at_once()
    device = torch.device("cpu")
    contender = open_contender(read_entry(Path(path)), device, threads)

    def call(image: Pixels, options: CallOptions) -> Answer:
        with torch_settings(device, threads):
            return Answer(contender.prepare(image)())

    _forget_memory()
    return call


def _return_memory_at_once() -> None:
    """Keeps glibc from holding large blocks that were freed: how many, chance decides."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(MMAP_THRESHOLD, LARGE_BLOCK)


def _forget_memory() -> None:
    """Gives back what opening left free, and sets the peak of the process to what it holds now."""
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
    if PEAK.exists():
        PEAK.write_text(FORGET_PEAK)
