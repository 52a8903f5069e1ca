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


def choose_backend(device: str, precision: str) -> str:
    """What `auto` stands for: the compiled passes where they are built and can run, else ONNX
    Runtime.
    """
    is_built = find_spec("pcsr.runtime._pixels") is not None
    return "native" if device == "cpu" and precision == "fp32" and is_built else "onnxruntime"


def make_backend(name: str, bundle: Bundle, device: str, precision: str, threads: int) -> Backend:
    """The backend `name` with the bundle's graphs loaded.

    Raises:
        BackendError: it is unknown, not installed, or cannot run on `device`.
    """
    if name not in ("native", "onnxruntime"):
        raise BackendError(f"unknown backend '{name}' (known: auto, native, onnxruntime)")
    if name == "native" and device != "cpu":
        raise BackendError(
            f"the native backend runs on the CPU, not on '{device}'; use onnxruntime"
        )
    if name == "native" and precision != "fp32":
        raise BackendError(
            f"the native backend computes in fp32, not in {precision}; use onnxruntime"
        )
    graphs = [*bundle.graphs(precision)]
    if device == "cpu" and precision == "bf16":
        raise BackendError("ONNX Runtime has no bf16 on the CPU; use fp32 there")
    from .onnxruntime import OnnxRuntimeBackend

    if name == "native":
        graphs = [role for role in graphs if role in ("backbone", "network")]
    return OnnxRuntimeBackend(bundle, device, precision, threads, graphs)
