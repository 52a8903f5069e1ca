"""Which passes a bundle gets: those whose MLPs no GPU has memory for are not run on one."""

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pcsr.errors import BackendError
from pcsr.runtime.gpu.loaded_bundle import make_passes
from pcsr.runtime.mlps import MlpWeights

pytest.importorskip("triton", reason="Triton is not installed")
GPU = torch.device("cuda")
RUNNER: Any = SimpleNamespace(device=GPU, rows_limit=2**20, map_limits=None, capturable=False)


def mlp(width: int, outputs: int) -> MlpWeights:
    shapes = {
        "feature_weight": (width, 8),
        "row_weight": (width,),
        "column_weight": (width,),
        "cell_weight": (width, 2),
        "bias": (width,),
        **{"weight_1": (width, width), "bias_1": (width,)},
        **{"weight_2": (outputs, width), "bias_2": (outputs,)},
    }
    return MlpWeights.of({name: np.zeros(size, np.float32) for name, size in shapes.items()})


def mlps(heavy: int) -> dict[str, MlpWeights]:
    return {"classifier": mlp(8, 1), "upsampler_0": mlp(heavy, 3), "upsampler_1": mlp(8, 3)}


@pytest.fixture(autouse=True)
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are packed on the CPU, and the graphs are not opened."""
    from pcsr.runtime import kernels

    def graphs(*_: object) -> SimpleNamespace:
        return SimpleNamespace(name="graphs")

    monkeypatch.setattr("pcsr.runtime.gpu.loaded_bundle.RowGraphPasses", graphs)
    of = kernels.PackedMlps.of
    monkeypatch.setattr(kernels.PackedMlps, "of", lambda given, dtype, _: of(given, dtype, "cpu"))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_mlps_that_no_gpu_has_memory_for_take_the_graphs(
    precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    """LIIF's, of four layers of 256 channels. Of 192 hidden channels two more are the biases'."""
    with caplog.at_level(logging.WARNING):
        assert make_passes("auto", RUNNER, precision, mlps(256)).name == "graphs"
    assert "has 272 channels, padding included" in caplog.text
    assert make_passes("auto", RUNNER, precision, mlps(191)).name == "graphs"
    with pytest.raises(
        BackendError, match="up to 128 on GPUs, so 190 hidden channels: choose the passes 'graphs'"
    ):
        make_passes("fused", RUNNER, precision, mlps(256))


@pytest.mark.parametrize(
    ("precision", "heavy"),
    [("fp16", 74), ("bf16", 58), ("fp32", 190), ("fp16", 190), ("bf16", 170)],
)
def test_others_are_fused(precision: str, heavy: int, caplog: pytest.LogCaptureFixture) -> None:
    assert make_passes("auto", RUNNER, precision, mlps(heavy)).name == "fused"
    assert not caplog.records
