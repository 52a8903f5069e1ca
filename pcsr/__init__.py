"""PCSR super-resolution, from a trained checkpoint to a low-latency deployment.

    from pcsr import Upscaler
    out = Upscaler("carn-pcsr/")(image, scale=4)

Importing `pcsr` imports neither torch nor a backend; `Upscaler` loads its backend when it is made.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pcsr.errors import (
    BackendError,
    BundleError,
    CancelledError,
    CheckpointError,
    EngineError,
    ImageError,
    OutputError,
    PcsrError,
    UsageError,
    VerificationError,
)
from pcsr.version import __version__

if TYPE_CHECKING:
    from pcsr.bundle import Bundle
    from pcsr.runtime.files.single import upscale_file
    from pcsr.runtime.process.cancellation import Cancellation
    from pcsr.runtime.upscaler import Result, Upscaler

# ONNX Runtime reads it when it is first imported. From 1.29 on it reports to its maker where nobody
# says no: it looks for the network and leaves a device id in ~/.cache/Microsoft.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "BackendError",
    "Bundle",
    "BundleError",
    "Cancellation",
    "CancelledError",
    "CheckpointError",
    "EngineError",
    "ImageError",
    "OutputError",
    "PcsrError",
    "Result",
    "Upscaler",
    "UsageError",
    "VerificationError",
    "__version__",
    "upscale_file",
]


_HOMES = {
    "Bundle": "pcsr.bundle",
    "Cancellation": "pcsr.runtime.process.cancellation",
    "Result": "pcsr.runtime.upscaler",
    "Upscaler": "pcsr.runtime.upscaler",
    "upscale_file": "pcsr.runtime.files.single",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pcsr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
