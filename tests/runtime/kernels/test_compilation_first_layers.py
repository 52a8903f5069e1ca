"""The first layers' products compile for NVIDIA GPUs and load more than a value at a time."""

import importlib

import pytest
import torch

from benchmarks.compiled.compiler import SHARED_LIMIT
from pcsr.runtime.kernels.convolutions.first_layers import first_layers

from .replacing import replaced
from .test_compilation import SPILLED

SHAPES = {"carn": (52, 128), "fsrcnn": (48, 96), "srresnet": (58, 272)}
ROOM = importlib.import_module("pcsr.runtime.kernels.convolutions.first_layers")
HALVES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("model", list(SHAPES))
@pytest.mark.parametrize("capability", [80, 86, 89, 90, 100, 120])
def test_first_layers(
    model: str, capability: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ROOM, "DEVICES", {"cpu"})
    launches = replaced(monkeypatch, ROOM, "first_layers_kernel")
    depth, columns = SHAPES[model]
    features = torch.zeros(9, 300, depth, dtype=dtype).permute(2, 0, 1)
    weight, constant = torch.zeros(depth, columns, dtype=dtype), torch.zeros(columns, dtype=dtype)
    first_layers(features, slice(1, 8), weight, constant)
    compiled = launches.compile(capability)
    assert compiled.uses_tensor_cores or "tcgen05.mma" in compiled.ptx
    assert compiled.spilled <= (0 if capability == 90 else SPILLED)
    assert compiled.shared <= SHARED_LIMIT[89]
    width = {52: "v2.b32", 48: "v4.b32", 58: "b32"}[depth]  # 8, 16 and 4 bytes: what rows allow
    assert f"ld.global.{width}" in compiled.ptx
    assert "ld.global.b16" not in compiled.ptx
