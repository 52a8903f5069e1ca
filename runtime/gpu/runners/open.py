"""Opens the runner of a backend."""

import logging

import torch

from pcsr.bundle import Bundle
from pcsr.errors import BackendError

from .checked import CheckedDeviceRunner
from .protocol import DeviceRunner
from .torch import TorchRunner


def open_runner(
    backend: str, bundle: Bundle, precision: str, device: torch.device, may_build: bool = True
) -> DeviceRunner:
    """Opens a bundle with a backend: torch, onnxruntime or tensorrt. What it gives is checked.

    Args:
        may_build: whether TensorRT engines that are missing or stale are built; the log
            `pcsr.tensorrt.build` says
            so.

    Raises:
        BackendError: the backend is unknown, not installed, or cannot run on `device`.
        BundleError: the bundle is damaged or has no graphs of this precision.
        EngineError: TensorRT engines are missing and may not be built, or building them fails.
    """
    runner = _open(backend, bundle, precision, device, may_build)
    return CheckedDeviceRunner(runner, bundle, precision)


def _open(
    backend: str, bundle: Bundle, precision: str, device: torch.device, may_build: bool
) -> DeviceRunner:
    if backend == "torch":
        return TorchRunner(bundle, precision, device)
    if backend == "onnxruntime":
        from .onnxruntime import OnnxRuntimeDeviceRunner

        return OnnxRuntimeDeviceRunner(bundle, precision, device)
    if backend == "tensorrt":
        from pcsr.runtime.tensorrt.store import open_engines

        log = logging.getLogger("pcsr.tensorrt.build")
        return open_engines(bundle, str(device), precision, rebuild=may_build, say=log.info)
    raise BackendError(f"unknown backend '{backend}' (known: torch, onnxruntime, tensorrt)")
