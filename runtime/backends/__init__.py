"""Engines that run a bundle's graphs."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BackendError

FloatArray = NDArray[np.float32]


class Backend(Protocol):
    """Runs the graphs of one bundle. Safe to call from several threads at once."""

    def run_image(self, role: str, image: FloatArray, outputs: Sequence[str]) -> list[FloatArray]:
        """These outputs of `backbone` or `network` on an image [1, 3, h, w], with all threads."""

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        """`classifier` or `upsampler_j` on a chunk of pixels, on the calling thread."""


BACKENDS = ("native", "onnxruntime", "torch", "tensorrt")


def choose_backend(name: str, device: str, precision: str, bundle: Bundle) -> str:
    """What `auto` stands for: on the CPU the compiled passes where they are built and can run, else
    ONNX Runtime; on a GPU TensorRT where it is installed and the bundle has engines, else torch.
    Any other name stays.

    Raises:
        BackendError: it is unknown, or cannot run on `device`.
    """
    if name not in ("auto", *BACKENDS):
        raise BackendError(f"unknown backend '{name}' (known: auto, {', '.join(BACKENDS)})")
    on_cpu = device == "cpu"
    if name == "auto" and on_cpu:
        is_built = find_spec("pcsr.runtime._pixels") is not None
        return "native" if precision == "fp32" and is_built else "onnxruntime"
    if name == "auto":
        is_there = find_spec("tensorrt") is not None or find_spec("tensorrt_rtx") is not None
        return "tensorrt" if is_there and (bundle.path / "engines").is_dir() else "torch"
    if name == "native" and not on_cpu:
        raise BackendError(
            f"the native backend runs on the CPU, not on '{device}'; use torch or tensorrt"
        )
    if name == "tensorrt" and on_cpu:
        raise BackendError("the tensorrt backend runs on a GPU, not on 'cpu'; use --device cuda")
    return name


def make_backend(name: str, bundle: Bundle, device: str, precision: str, threads: int) -> Backend:
    """`native` or `onnxruntime` with the bundle's graphs loaded, for the CPU.

    Raises:
        BackendError: it is unknown, not installed, or cannot run on `device`.
    """
    if name == "native" and precision != "fp32":
        raise BackendError(
            f"the native backend computes in fp32, not in {precision}; use onnxruntime or torch"
        )
    graphs = [*bundle.graphs(precision)]
    if precision == "bf16":
        raise BackendError("ONNX Runtime has no bf16 on the CPU; use the torch backend, or fp32")
    from .onnxruntime import OnnxRuntimeBackend

    if name == "native":
        graphs = [role for role in graphs if role in ("backbone", "network")]
    return OnnxRuntimeBackend(bundle, device, precision, threads, graphs)
