"""Names of the backends, and which one `auto` takes."""

import logging
import platform
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, get_args

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, UsageError
from pcsr.single_file import SingleFile

from .devices import parse_device

Backend = Literal["auto", "native", "onnxruntime", "torch", "tensorrt"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
LOG = logging.getLogger(__name__)
X86 = ("x86_64", "AMD64")
BACKENDS: tuple[str, ...] = get_args(Backend)[1:]
QUANTISED = {"int8": ("native", "onnxruntime", "tensorrt"), "fp8": ("tensorrt",)}
CPU_SETS = {"int8": "int8-cpu"}
"""The set of graphs that ONNX Runtime runs on a CPU in place of the one for TensorRT."""


def choose_backend(name: str, device: str, precision: str, bundle: Bundle) -> str:
    """Chooses what `auto` stands for: on the CPU the compiled passes where they are built and
    can run, and for bf16, else ONNX Runtime; on a GPU TensorRT where it is installed and the bundle
    has engines, else torch. One ONNX file runs in ONNX Runtime on the CPU. Any other name stays.

    Raises:
        UsageError: the name of the backend or of the device is unknown.
        BackendError: the backend cannot run on `device`, or not the bundle.
    """
    if name not in ("auto", *BACKENDS):
        raise UsageError(f"unknown backend '{name}'; expected auto, {', '.join(BACKENDS)}")
    parse_device(device)
    on_cpu = device == "cpu"
    if precision in CPU_SETS.values():
        raise UsageError(f"{precision} is what int8 runs on the CPU; ask for the precision int8")
    if isinstance(bundle, SingleFile):
        return _of_one_file(name, on_cpu, bundle)
    if precision in QUANTISED:
        name = _of_quantised(name, on_cpu, precision)
    if name == "auto" and on_cpu:
        return _on_cpu(precision, bundle)
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


def _on_cpu(precision: str, bundle: Bundle) -> str:
    if precision == "bf16":
        return "native"  # ONNX Runtime has no bf16
    if precision not in ("fp32", "int8"):
        return "onnxruntime"
    try:  # the file may be there, and what it needs not
        import_module("pcsr.runtime.cpu._pixels")
    except ImportError:
        pass
    else:
        return _faster_on_cpu(bundle)
    LOG.warning(
        "pcsr was installed without its compiled passes; the slower backend onnxruntime runs "
        "instead. Install pcsr again, with pip's --no-cache-dir, where gcc or clang and Python's "
        "headers are, or pass --backend onnxruntime"
    )
    return "onnxruntime"


def _faster_on_cpu(bundle: Bundle) -> str:
    instructions = import_module("pcsr.runtime.cpu.passes").instructions()
    reads_four = any(one.neighbours == 4 for one in bundle.manifest.model.upsamplers)
    if not (reads_four and instructions == "generic" and platform.machine() in X86):
        return "native"
    LOG.info("backend onnxruntime: without AVX2 it is faster for upsamplers that read 4 pixels")
    return "onnxruntime"


def _of_one_file(name: str, on_cpu: bool, file: SingleFile) -> str:
    if on_cpu and name in ("auto", "onnxruntime"):
        return "onnxruntime"
    raise BackendError(
        f"{file.path} is one ONNX file, which runs on the CPU in ONNX Runtime here; pass --device "
        "cpu and no --backend, or a bundle's folder"
    )


def _of_quantised(name: str, on_cpu: bool, precision: str) -> str:
    """Returns `name`, or what `auto` stands for on a GPU, where it can run quantised graphs."""
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
