"""The installed TensorRT: `tensorrt`, else `tensorrt_rtx`, which has the same names."""

import functools
import logging
from collections import deque
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pcsr.errors import BackendError, EngineError
from pcsr.text import one_line

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
KEPT_ERRORS = 20
LONGEST_REASON = 400


@dataclass(frozen=True)
class Library:
    """The TensorRT or TensorRT-RTX that is installed."""

    name: str
    """`tensorrt` or `tensorrt-rtx`."""
    version: str
    trt: Any
    """The Python module."""
    log: Any
    """The logger; there is one in a process, because TensorRT keeps the first that it is given."""

    @property
    def is_rtx(self) -> bool:
        """Tells whether it is TensorRT-RTX, which builds without a GPU engines that fit many."""
        return self.name == "tensorrt-rtx"

    @property
    def title(self) -> str:
        return title(self.name, self.version)

    def load(self, plan: bytes, role: str, host_code: bool = False) -> tuple[Any, Any]:
        """Loads a plan on the current GPU: gives its engine, and the runtime that must outlive it.

        Args:
            host_code: whether the plan may bring its own runtime, as version-compatible ones do.

        Raises:
            EngineError: TensorRT does not take the plan.
        """
        runtime = self.trt.Runtime(self.log)
        if host_code:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self.error(f"cannot load the {role} engine")
        return engine, runtime

    def error(self, what: str) -> EngineError:
        """Makes the error `what`, with all that the library has logged since the last one."""
        errors = list(self.log.errors)
        self.log.errors.clear()
        reason = one_line("; ".join(dict.fromkeys(errors))) or "it gave no reason"
        if len(reason) > LONGEST_REASON:
            reason = reason[:LONGEST_REASON] + "…"
        return EngineError(f"{self.title} {what}: {reason}")


def title(name: str, version: str) -> str:
    """Gives name and version of a library, for a message."""
    return f"{TITLES.get(name, name)} {version}"


@functools.cache
def load_library() -> Library:
    """Loads the installed TensorRT, or TensorRT-RTX where only that is installed.

    Raises:
        BackendError: there is neither, or the one that is installed does not load.
    """
    for name, module in MODULES.items():
        try:
            trt = import_module(module)
        except (ImportError, OSError) as error:
            if isinstance(error, ModuleNotFoundError) and error.name == module:
                continue
            raise BackendError(
                f"{TITLES[name]} is installed but does not load: {one_line(str(error))}; "
                f"install it again or remove {module}"
            ) from error
        return Library(name, trt.__version__, trt, _make_log(trt))
    raise BackendError(
        "TensorRT is not installed; run pip install 'pcsr[tensorrt]' (on the machine with the "
        "GPU), or pip install tensorrt-rtx filelock"
    )


def _make_log(trt: Any) -> Any:  # noqa: ANN401
    python_log = logging.getLogger("pcsr.tensorrt")
    most_severe_kept = int(trt.ILogger.Severity.ERROR)

    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps the last errors for our own messages; the rest goes to Python's logging."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=KEPT_ERRORS)

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            if int(severity) <= most_severe_kept:
                self.errors.append(message)
            else:
                python_log.debug(message)

    return Log()
