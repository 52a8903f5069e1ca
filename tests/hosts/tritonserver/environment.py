"""The environment in which Triton Inference Server and pcsr are installed (`make tritonserver`)."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def tritonserver_python() -> Path:
    """Gives the environment's Python. It has the server, its clients, pcsr with ONNX Runtime and
    pytest, and no PyTorch.

    Where it is not there the test is skipped; with PCSR_TRITONSERVER_REQUIRED=1 it fails.
    """
    python = ROOT / ".venv-tritonserver" / "bin" / "python"
    if not python.exists():
        reason = f"needs Triton Inference Server ({python} is not there): run make tritonserver"
        if os.environ.get("PCSR_TRITONSERVER_REQUIRED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return python
