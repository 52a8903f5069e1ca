"""Opens the engines of a backend."""

import logging

import torch

from pcsr.bundle import Bundle
from pcsr.errors import BackendError

from .protocol import Engines
from .torch import TorchEngines


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
        from .onnxruntime import OnnxRuntimeEngines

        return OnnxRuntimeEngines(bundle, precision, device)
    if backend == "tensorrt":
        from pcsr.runtime.tensorrt.store import open_engines

        log = logging.getLogger("pcsr")
        return open_engines(bundle, str(device), precision, rebuild=may_build, say=log.info)
    raise BackendError(f"unknown backend '{backend}' (known: torch, onnxruntime, tensorrt)")
