"""Probes prove that backends work: each runs the smallest possible thing, or says why it fails."""

import warnings
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn, TypeVar

from pcsr.errors import BackendError

# An ONNX model: the convolution of x [1, 1, 1, 2] with the weight [1, 2].
TINY = b64decode(
    "CAk6agoPCgF4CgF3EgF5IgRDb252EgR0aW55KhcIAQgBCAEIAhABQgF3SggAAIA/AAAAQFobCgF4EhYKFAgBEhAKAggBCgII"
    "AQoCCAEKAggCYhsKAXkSFgoUCAESEAoCCAEKAggBCgIIAQoCCAFCBAoAEBI="
)
Answer = TypeVar("Answer")
PIXELS = (3.0, 4.0)
EXPECTED = 11.0
INSTALL = {
    "numpy": "pip install numpy",
    "onnx": "pip install onnx",
    "onnxruntime": "pip install 'pcsr[cpu]' (on a machine with an NVIDIA GPU 'pcsr[gpu]')",
    "torch": "install PyTorch from pytorch.org",
    "triton": "pip install triton (PyTorch for CUDA brings it on Linux)",
}


@dataclass(frozen=True)
class BackendCheck:
    """Holds what was found of a backend on a device."""

    backend: str
    device: str
    works: bool
    detail: str
    """With what it works, or why it does not and what to do."""


@dataclass(frozen=True)
class Probe:
    """Finds out whether a backend works on a device."""

    backend: str
    device: str
    packages: tuple[str, ...]
    """Import names that it needs, in the order of importing."""
    run: Callable[[], str]
    """Proves it, and says with what; or raises."""

    def check(self) -> BackendCheck:
        """Runs the probe. It never raises: whatever a broken package does becomes the detail."""
        return attempt(
            lambda: BackendCheck(self.backend, self.device, True, self._prove()),
            lambda error: BackendCheck(self.backend, self.device, False, reason(error)),
        )

    def _prove(self) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for package in self.packages:
                _import(package)
            return self.run()


def attempt(run: Callable[[], Answer], otherwise: Callable[[BaseException], Answer]) -> Answer:
    """Returns what `run` does, or what `otherwise` makes of its failure, of whatever kind."""
    try:
        return run()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # some extension modules fail outside of Exception
        return otherwise(error)


def reason(error: BaseException) -> str:
    """Describes an exception in one line."""
    line = " ".join(str(error).split())
    return line if isinstance(error, BackendError) else f"{type(error).__name__}: {line}"


def _import(package: str) -> ModuleType:
    def fail(error: BaseException) -> NoReturn:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise BackendError(f"{package} is not installed; {INSTALL[package]}") from error
        raise BackendError(f"{package} does not load: {reason(error)}; install it again") from error

    return attempt(lambda: import_module(package), fail)


def _expect(value: float) -> None:
    if value != EXPECTED:
        raise BackendError(f"it computes {value:g} where {EXPECTED:g} is right; install it again")


def compiled_passes() -> str:
    """Loads the compiled passes, and names the instructions that they use."""
    from pcsr.runtime.cpu.passes import instructions

    return instructions()


def native() -> str:
    """Runs what the backbone runs in, and loads the compiled passes."""
    session = in_onnxruntime("CPUExecutionProvider")
    return f"{compiled_passes()} passes, {session}"


def in_onnxruntime(provider: str) -> str:
    """Runs the tiny model in ONNX Runtime."""
    import numpy as np
    import onnxruntime as ort

    from pcsr.runtime.machine import refuse_two_packages

    if provider == "CUDAExecutionProvider":
        refuse_two_packages()
    if provider not in ort.get_available_providers():
        raise BackendError(
            f"this onnxruntime {ort.__version__} is built without {provider}; pip uninstall -y "
            "onnxruntime, then pip install 'pcsr[gpu]'"
        )
    options = ort.SessionOptions()
    options.log_severity_level = 4
    ort.set_default_logger_severity(4)
    session = ort.InferenceSession(TINY, options, [provider])
    if session.get_providers()[0] != provider:
        raise BackendError(
            f"{provider} does not start: no NVIDIA GPU, or CUDA and cuDNN libraries are missing "
            "(PyTorch for CUDA brings them)"
        )
    pixels = np.array(PIXELS, np.float32).reshape(1, 1, 1, 2)
    _expect(float(session.run(None, {"x": pixels})[0].item()))
    return f"onnxruntime {ort.__version__}"


def native_bf16() -> str:
    """Finds what computes backbones in bf16: our own convolutions, OpenVINO or both. Runs ONNX
    Runtime, too, which they are compared with.
    """
    from pcsr.runtime.machine import bf16_instructions, cpu_name

    if not bf16_instructions():
        raise BackendError(f"{cpu_name()} has no instructions for bf16 (avx512_bf16 or AMX)")
    in_onnxruntime("CPUExecutionProvider")
    own = ["native convolutions"] if attempt(_has_convolutions, lambda _error: False) else []
    try:
        return ", ".join([*own, in_openvino()])
    except BackendError as error:
        if own:
            return f"{own[0]}; {error}"
        raise


def _has_convolutions() -> bool:
    from pcsr.runtime.cpu.convolutions.structs import has_instructions

    return bool(has_instructions())


def in_openvino() -> str:
    """Runs the tiny model in OpenVINO, in bf16."""
    import numpy as np

    from pcsr.runtime.cpu.candidates.openvino import openvino
    from pcsr.runtime.machine import versions

    core = openvino().Core()
    hints = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1}
    model = core.compile_model(core.read_model(TINY), "CPU", hints)
    pixels = np.array(PIXELS, np.float32).reshape(1, 1, 1, 2)
    _expect(float(model(pixels)[0].item()))
    return f"openvino {versions('openvino').get('openvino', '?')}"


def in_torch(name: str) -> str:
    """Runs the tiny model as the torch backend does."""
    import torch

    from pcsr.runtime.devices import torch_device
    from pcsr.runtime.torch_backend.module import OnnxModule

    device = torch_device(name)
    (found,) = OnnxModule(TINY, device)(torch.tensor(PIXELS, device=device).reshape(1, 1, 1, 2))
    _expect(found.item())
    return f"torch {torch.__version__}"


def triton_cuda() -> str:
    """Compiles a kernel for this GPU and runs it."""
    import torch
    import triton

    from pcsr.runtime.devices import torch_device

    device = torch_device("cuda")
    from .kernel import weighted_sum

    _expect(weighted_sum(torch.tensor(PIXELS, device=device)))
    return f"triton {triton.__version__}"


def tensorrt_cuda() -> str:
    """Builds an engine and runs it, with whichever TensorRT is there."""
    import torch

    from pcsr.runtime.devices import torch_device
    from pcsr.runtime.tensorrt.engine import Engine
    from pcsr.runtime.tensorrt.library import load_library

    library, device = load_library(), torch_device("cuda")
    x = torch.tensor(PIXELS, device=device).reshape(1, 1, 1, 2)
    torch.cuda.synchronize(device)
    with torch.cuda.stream(torch.cuda.Stream(device)):  # type: ignore[no-untyped-call]
        _expect(Engine(library, _plan(library), "smallest").run({"x": x}).item())
    return f"{library.trt.__name__} {library.version}"


def _plan(library: Any) -> Any:  # noqa: ANN401
    from pcsr.runtime.tensorrt.build import parse

    parsed = parse(library, TINY, "smallest")
    config = parsed.builder.create_builder_config()
    plan = parsed.builder.build_serialized_network(parsed.network, config)
    if plan is None:
        raise library.error("cannot build the smallest engine; does it fit the driver?")
    return plan


ORT, TORCH = ("numpy", "onnxruntime"), ("torch", "numpy", "onnx")
PROBES = (
    Probe("native", "cpu", ORT, native),
    Probe("onnxruntime", "cpu", ORT, partial(in_onnxruntime, "CPUExecutionProvider")),
    Probe("native, bf16", "cpu", (*ORT, "onnx"), native_bf16),
    Probe("torch", "cpu", TORCH, partial(in_torch, "cpu")),
    Probe("torch", "cuda", TORCH, partial(in_torch, "cuda")),
    Probe("onnxruntime", "cuda", ORT, partial(in_onnxruntime, "CUDAExecutionProvider")),
    Probe("tensorrt", "cuda", ("torch", "numpy"), tensorrt_cuda),
    Probe("fused kernels", "cuda", ("torch", "triton"), triton_cuda),
)
