"""ONNX Runtime's sessions, on the CPU or on CUDA; none falls back from one to the other."""

import os
from collections.abc import Mapping
from typing import Any

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, BundleError
from pcsr.text import first_line

from .devices import parse_device

try:
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as binding
except ModuleNotFoundError as missing:
    raise BackendError(
        f"the onnxruntime backend needs {missing.name}, which is not installed; "
        "run pip install 'pcsr[cpu]' (or 'pcsr[gpu]')"
    ) from missing
except ImportError as broken:
    raise BackendError(f"onnxruntime is installed but does not load: {broken}") from broken

# Read when onnxruntime is imported, which the host may have done before it imported pcsr.
if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":
    ort.disable_telemetry_events()

SETTINGS = {
    # Spinning workers would take the cores from what follows; not spinning at all costs CARN 8 %.
    "session.force_spinning_stop": "1",
    # Small parts balance cores that are not equally fast: 5 % of CARN's backbone.
    "session.dynamic_block_base": "8",
    # Between two quantised layers it would round a float32 one's weights to 8 bits, too.
    "session.disable_quant_qdq": "1",
}
OWN_ERRORS: tuple[type[Exception], ...] = tuple(
    kind
    for kind in vars(binding).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
)  # they have no common base class
ERRORS: tuple[type[Exception], ...] = (*OWN_ERRORS, RuntimeError, MemoryError, ValueError)
"""What ONNX Runtime raises: its own errors, those of C++, and that of an input that is missing. Any
other is of somebody else, as of a signal handler that runs in the middle of a call."""
FATAL = 4  # of ONNX Runtime's log: it prints errors, and raises them, too


def run_options() -> Any:  # noqa: ANN401
    """Gives the options of a run that computes what the requested outputs need, and no more."""
    options = ort.RunOptions()
    options.only_execute_path_to_fetches = True
    options.log_severity_level = FATAL
    # "No graph is captured": its Python asks in each run, and without an answer C++ throws, 44 us.
    options.add_run_config_entry("gpu_graph_id", "-1")
    return options


def open_session(
    bundle: Bundle,
    role: str,
    precision: str,
    threads: int,
    provider: tuple[str, dict[str, str]],
    settings: Mapping[str, str] = SETTINGS,
) -> Any:  # noqa: ANN401
    """Opens a session of one graph on this provider.

    Args:
        threads: the cores that one operator may use; 0 takes all.
        provider: name and options, as `provider_of` gives them.

    Raises:
        BundleError: the file is damaged, or ONNX Runtime refuses it.
        BackendError: the provider did not start.
    """
    name, _ = provider
    model = bundle.graph_bytes(role, precision)
    try:
        session = start_session(model, threads, provider, settings)
    except ERRORS as error:
        reason = first_line(error)
        kind = BundleError if name == "CPUExecutionProvider" else BackendError
        raise kind(
            f"{bundle.path}: ONNX Runtime refuses the {role} graph with {name}: {reason}"
        ) from error
    expected = [tensor.name for tensor in bundle.graphs(precision)[role].inputs]
    found = [value.name for value in session.get_inputs()]
    if found != expected:
        raise BundleError(
            f"{bundle.path}: the {role} graph takes {', '.join(found)} instead of "
            f"{', '.join(expected)}; export the bundle again"
        )
    if session.get_providers()[0] != name:
        raise BackendError(f"ONNX Runtime did not start {name}; run with --device cpu")
    return session


def start_session(
    model: bytes,
    threads: int,
    provider: tuple[str, dict[str, str]],
    settings: Mapping[str, str] = SETTINGS,
) -> Any:  # noqa: ANN401
    """Opens a session of an ONNX file. Where ONNX Runtime refuses it, its own errors are raised."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = FATAL
    # Planned once per shape, its memory lies beside the arena's: CARN took twice as much.
    options.enable_mem_pattern = False
    # Else bytes that are an ONNX model, and were checked as one, may be read in ORT's own format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    for key, value in settings.items():
        options.add_session_config_entry(key, value)
    name, provider_options = provider
    # Its own way back to the CPU would print, too.
    return ort.InferenceSession(model, options, [name], [provider_options], enable_fallback=0)


def provider_of(device: str) -> tuple[str, dict[str, str]]:
    """Gives name and options of the execution provider for `cpu`, `cuda` or `cuda:N`.

    Raises:
        BackendError: the name is unknown, or this ONNX Runtime has no such provider.
    """
    kind, index = parse_device(device)
    name = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[kind]
    if name not in ort.get_available_providers():
        raise BackendError(
            f"device '{device}' is not there: this ONNX Runtime has only "
            f"{', '.join(ort.get_available_providers())}; run with --device cpu, or install "
            "pcsr[gpu] on a machine with an NVIDIA GPU"
        )
    return name, {} if index is None else {"device_id": str(index)}
