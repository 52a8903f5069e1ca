"""What runs a bundle's graphs on tensors that stay on their device."""

import logging
from typing import Protocol

import torch
from torch import Tensor

from pcsr.bundle import Bundle
from pcsr.errors import BackendError

from .onnx_module import OnnxModule

MOST_ROWS = 2**20


class Engines(Protocol):
    """The graphs of one bundle on `device`. All work is queued on PyTorch's current CUDA stream.

    capturable: may be recorded into a CUDA graph, after a run with the same shapes.
    image_least, image_limit: smallest and largest (height, width) that `image` takes; None: any.
    rows_limit: most rows N per call of `rows`. map_limits: least and most input pixels P of its row
    maps; None: any.

    Calls raise torch.OutOfMemoryError where the device's memory does not suffice.
    """

    device: torch.device
    capturable: bool
    image_least: tuple[int, int]
    image_limit: tuple[int, int] | None
    rows_limit: int
    map_limits: tuple[int, int] | None

    def image(self, image: Tensor) -> Tensor:
        """[1, 3, h, w] float32 RGB in [0, 1], contiguous -> `features` [1, D, h, w] of the graph's
        precision, of any strides; of a plain network `upscaled` [1, 3, H, W].
        """

    def rows(
        self, role: str, features: Tensor, index: Tensor, offset: Tensor, cell: Tensor
    ) -> Tensor:
        """`classifier` or `upsampler_j` on N pixels (0 allowed): its row map [P, C] of the graph's
        precision, [N] int32, [N, 2] and [2] float32 -> [N, outputs] float32.
        """


class TorchEngines:
    """Every graph in PyTorch, on a GPU or the CPU: needs torch and onnx, nothing else.

    Raises:
        BackendError: a graph holds an operator that is not known here.
        BundleError: no such precision, or a damaged bundle.
    """

    image_least = (1, 1)
    image_limit: tuple[int, int] | None = None
    rows_limit = MOST_ROWS
    map_limits: tuple[int, int] | None = None

    def __init__(self, bundle: Bundle, precision: str, device: torch.device) -> None:
        self.device = device
        self.capturable = device.type == "cuda"
        role = image_role(bundle)
        wanted = {role: [image_output(role)]}
        self._modules = {
            name: OnnxModule(bundle.graph_bytes(name, precision), device, wanted.get(name))
            for name in bundle.graphs(precision)
        }
        self._image = self._modules.pop(role)

    @property
    def fusions(self) -> str:
        """One line on how the image's graph runs."""
        return self._image.fusions

    def image(self, image: Tensor) -> Tensor:
        features: Tensor = self._image(image)[0]
        return features

    def rows(
        self, role: str, features: Tensor, index: Tensor, offset: Tensor, cell: Tensor
    ) -> Tensor:
        values: Tensor = self._modules[role](features, index, offset, cell)[0]
        return values.float()


def make_engines(
    backend: str,
    bundle: Bundle,
    precision: str,
    device: torch.device,
    may_build: bool = True,
) -> Engines:
    """The engines of `backend`: torch, onnxruntime or tensorrt.

    may_build: whether TensorRT engines that are missing or stale are built; the log `pcsr` says so.

    Raises:
        BackendError: it is unknown, not installed, or cannot run on `device`.
        BundleError: the bundle is damaged or has no graphs of this precision.
        EngineError: TensorRT engines are missing and may not be built, or building them fails.
    """
    if backend == "torch":
        return TorchEngines(bundle, precision, device)
    if backend == "onnxruntime":
        from .onnxruntime_engines import OnnxRuntimeEngines

        return OnnxRuntimeEngines(bundle, precision, device)
    if backend == "tensorrt":
        from pcsr.runtime.tensorrt.store import open_engines

        log = logging.getLogger("pcsr")
        return open_engines(bundle, str(device), precision, rebuild=may_build, say=log.info)
    raise BackendError(f"unknown backend '{backend}' (known: torch, onnxruntime, tensorrt)")


def image_role(bundle: Bundle) -> str:
    """The graph that takes the image."""
    return "network" if bundle.kind == "plain" else "backbone"


def image_output(role: str) -> str:
    """Which of its outputs is wanted."""
    return {"network": "upscaled", "backbone": "features"}[role]
