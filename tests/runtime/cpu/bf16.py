"""What tests of bf16 on the CPU share."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from pcsr import Upscaler
from pcsr.amend import commit
from pcsr.manifest import Manifest
from pcsr.runtime.cpu.candidates import choice
from pcsr.runtime.cpu.candidates.choice import NATIVE, OPENVINO
from pcsr.runtime.cpu.candidates.gate import CALIBRATION
from pcsr.runtime.cpu.convolutions.structs import has_instructions
from pcsr.runtime.machine import bf16_instructions

has_bf16 = pytest.mark.skipif(
    not bf16_instructions(), reason="this processor has neither avx512_bf16 nor AMX"
)
has_openvino = pytest.mark.skipif(
    not bf16_instructions() or find_spec("openvino") is None,
    reason="OpenVINO is not installed, or this processor has neither avx512_bf16 nor AMX",
)
has_convolutions = pytest.mark.skipif(
    not has_instructions(), reason="this processor has no AVX-512 with bf16"
)
ENGINES = [
    pytest.param(NATIVE, id="native", marks=has_convolutions),
    pytest.param(OPENVINO, id="openvino", marks=has_openvino),
]
"""What may compute a backbone in bf16."""


@contextmanager
def opened_with(engine: str, bundle: Path, threads: int, cache: Path) -> Iterator[Upscaler]:
    """Opens a bundle in bf16 where its image graph has no other engine than this. cache: a folder
    for what trials remember.
    """
    all_of = choice.candidates_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setattr(choice, "candidates_of", lambda *given: {engine: all_of(*given)[engine]})
        upscaler = Upscaler(bundle, precision="bf16", threads=threads)
    with upscaler:
        assert engine in upscaler.choices[0]
        yield upscaler


def passed(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle whose loss in bf16 counts as measured."""
    copy = Path(shutil.copytree(bundle, folder / "passed"))

    def change(manifest: Manifest) -> Manifest:
        entry = {"what": CALIBRATION, "precision": "bf16"}
        return replace(manifest, verification=[*manifest.verification, entry])

    commit(copy, change)
    return copy
