"""The environment in which VapourSynth and pcsr are installed (`make vapoursynth`)."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def vapoursynth_python() -> Path:
    """Gives the environment's Python. It has VapourSynth, the filter `core.ort` (vsort), pcsr and
    pytest, and no PyTorch.

    Where it is not there the test is skipped; with PCSR_VAPOURSYNTH_REQUIRED=1 it fails.
    """
    python = ROOT / ".venv-vapoursynth" / "bin" / "python"
    if not python.exists():
        reason = f"needs VapourSynth in Python 3.12 ({python} is not there): run make vapoursynth"
        if os.environ.get("PCSR_VAPOURSYNTH_REQUIRED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return python
