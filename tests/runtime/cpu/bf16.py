"""What tests of bf16 on the CPU share."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from pcsr.amend import commit
from pcsr.manifest import Manifest
from pcsr.runtime.cpu.candidates.gate import CALIBRATION
from pcsr.runtime.machine import bf16_instructions

has_bf16 = pytest.mark.skipif(
    not bf16_instructions(), reason="this processor has neither avx512_bf16 nor AMX"
)
has_openvino = pytest.mark.skipif(
    not bf16_instructions() or find_spec("openvino") is None,
    reason="OpenVINO is not installed, or this processor has neither avx512_bf16 nor AMX",
)


def passed(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle whose loss in bf16 counts as measured."""
    copy = Path(shutil.copytree(bundle, folder / "passed"))

    def change(manifest: Manifest) -> Manifest:
        entry = {"what": CALIBRATION, "precision": "bf16"}
        return replace(manifest, verification=[*manifest.verification, entry])

    commit(copy, change)
    return copy
