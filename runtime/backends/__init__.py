"""Engines that run a bundle's graphs."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, BundleError, UsageError

FloatArray = NDArray[np.float32]


class Backend(Protocol):
    """Runs the graphs of one bundle. Safe to call from several threads at once."""

    def run_image(self, role: str, image: FloatArray, outputs: Sequence[str]) -> list[FloatArray]:
        """These outputs of `backbone` or `network` on an image [1, 3, h, w], with all threads."""

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        """`classifier` or `upsampler_j` on a chunk of pixels, on the calling thread."""


BACKENDS = ("native", "onnxruntime", "torch", "tensorrt")
QUANTISED = {"int8": ("native", "onnxruntime", "tensorrt"), "fp8": ("tensorrt",)}
CPU_SETS = {"int8": "int8-cpu"}
"""The set of graphs that ONNX Runtime runs on a CPU in place of the one for TensorRT."""


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
    if precision in CPU_SETS.values():
        raise UsageError(f"{precision} is what int8 runs on the CPU; ask for the precision int8")
    if precision in QUANTISED:
        name = _of_quantised(name, on_cpu, precision)
    if name == "auto" and on_cpu:
        is_built = find_spec("pcsr.runtime._pixels") is not None
        return "native" if precision in ("fp32", "int8") and is_built else "onnxruntime"
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


def _of_quantised(name: str, on_cpu: bool, precision: str) -> str:
    """`name`, or what `auto` stands for on a GPU, where it can run quantised graphs."""
    able = [b for b in QUANTISED[precision] if (b == "tensorrt") != on_cpu]
    if able and name == "auto":
        return name if on_cpu else "tensorrt"
    if name in able:
        return name
    where = "on the CPU" if on_cpu else "on a GPU"
    there = [f"{b} on {'a GPU' if b == 'tensorrt' else 'the CPU'}" for b in QUANTISED[precision]]
    raise BackendError(
        f"{precision} does not run {where} with backend '{name}'; it runs with {', '.join(there)}"
    )


def make_backend(name: str, bundle: Bundle, device: str, precision: str, threads: int) -> Backend:
    """`native` or `onnxruntime` with the bundle's graphs loaded, for the CPU.

    Raises:
        BackendError: it is unknown, not installed, or cannot run on `device`.
    """
    precision = _cpu_set(bundle, precision)
    if name == "native" and precision not in ("fp32", *CPU_SETS.values()):
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


def _cpu_set(bundle: Bundle, precision: str) -> str:
    """Which set of graphs ONNX Runtime runs on the CPU for a precision."""
    name = CPU_SETS.get(precision, precision)
    if name != precision and name not in bundle.manifest.graphs:
        raise BundleError(
            f"{bundle.path} has no {precision} graphs for the CPU; make them with "
            f"pcsr-calibrate precision {bundle.path} IMAGES"
        )
    return name
