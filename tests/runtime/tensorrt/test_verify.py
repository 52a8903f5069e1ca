"""Engines against ONNX Runtime: real graphs, the real OnnxrtRunner and Comparator, and a fake of
Polygraphy's TrtRunner, which needs a GPU.
"""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polygraphy.backend.trt
import pytest
import torch
from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
from polygraphy.datatype import DataType
from polygraphy.exception import PolygraphyException

from pcsr import BackendError, Bundle, EngineError, OutputError, VerificationError
from pcsr.runtime.tensorrt import verify
from pcsr.runtime.tensorrt.library import Library
from pcsr.runtime.tensorrt.plans import PlanSet, engines_folder
from pcsr.runtime.tensorrt.profiles import ShapeProfile, Shapes
from pcsr.runtime.tensorrt.store import BuildRequest, build_engines
from pcsr.runtime.tensorrt.target import LocalGpu
from pcsr.runtime.tensorrt.verify import check_can_verify, example_feed, verify_engines
from tests import checkpoints
from tests.commands import assert_refused, build
from tests.exports import ALL_PRECISIONS, Exports

GPU = LocalGpu("NVIDIA GeForce RTX 4090", "8.9")
SMALL = BuildRequest(Shapes((1, 1), (8, 8), (16, 16)))
Change = Callable[[Any], Any]


@pytest.fixture
def typed(exports: Exports, tmp_path: Path) -> Bundle:
    """A bundle in all precisions, to keep engines in."""
    network = checkpoints.calmed(checkpoints.pcsr_network("srresnet"))
    data = checkpoints.pcsr_checkpoint(network, "srresnet")
    return Bundle.load(shutil.copytree(exports.of(data, ALL_PRECISIONS), tmp_path / "typed"))


def pretend(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, precision: str, change: Change
) -> list[dict[str, Any]]:
    """Puts ONNX Runtime in the place of the engines, with `change` on what it gives; returns a list
    that grows by what the engines are fed.
    """
    fed: list[dict[str, Any]] = []
    graphs = "fp32" if precision == "bf16" else precision

    class FakeTrtRunner(OnnxrtRunner):  # type: ignore[misc]
        """Gives the first output of a graph, as an engine does. engine: the role."""

        def __init__(self, engine: str) -> None:
            super().__init__(SessionFromOnnx(bundle.graph_bytes(engine, graphs)))

        def get_input_metadata_impl(self) -> Any:  # noqa: ANN401
            found = super().get_input_metadata_impl()
            if precision == "bf16" and "features" in found:
                found["features"].dtype = DataType.BFLOAT16
            return found

        def infer_impl(self, feed_dict: dict[str, Any]) -> dict[str, Any]:
            fed.append(feed_dict)
            plain = {name: _as_array(values) for name, values in feed_dict.items()}
            name, values = next(iter(super().infer_impl(plain).items()))
            return {name: change(values)}

    monkeypatch.setattr(polygraphy.backend.trt, "TrtRunner", FakeTrtRunner)
    monkeypatch.setattr(Library, "load", lambda self, plan, role, host_code: (role, None))
    return fed


def _as_array(values: Any) -> Any:  # noqa: ANN401
    if not isinstance(values, torch.Tensor):
        return values
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def built(bundle: Bundle, precision: str) -> PlanSet:
    return build_engines(bundle, precision, SMALL)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_engines_that_are_right(
    typed: Bundle, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = built(typed, precision)
    fed = pretend(monkeypatch, typed, precision, lambda values: values)
    said: list[str] = []
    checks = verify_engines(typed, plans, GPU, said.append)
    assert list(checks) == ["backbone", "classifier", "upsampler_0", "upsampler_1"]
    assert all(check.passed for check in checks.values())
    assert checks["backbone"].output == "features"
    assert said[0].startswith(f"{precision} backbone: differs from ONNX Runtime by ")
    report = json.loads((plans.folder / "verification.json").read_text())
    assert report["format"] == "pcsr-engine-verification"
    assert report["gpu"] == GPU.name
    assert report["engines"]["classifier"]["output"] == "logits"
    half = {"fp32": np.float32, "fp16": np.float16}
    kind = fed[1]["features"].dtype
    assert kind == (torch.bfloat16 if precision == "bf16" else half[precision])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda values: values * 1.1,
        lambda values: np.zeros_like(values),
        lambda values: np.full_like(values, np.nan),
    ],
    ids=["10 %", "zeros", "NaN"],
)
def test_engines_that_are_wrong(
    typed: Bundle, wrong: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = built(typed, "fp32")
    pretend(monkeypatch, typed, "fp32", wrong)
    with pytest.raises(VerificationError) as caught:
        verify_engines(typed, plans, GPU)
    assert "4 of 4 fp32 engines differ from ONNX Runtime, first backbone" in str(caught.value)
    assert "\n" not in str(caught.value)
    report = json.loads((plans.folder / "verification.json").read_text())
    assert not any(check["passed"] for check in report["engines"].values())


@pytest.mark.parametrize("kind", [PolygraphyException, RuntimeError])
def test_an_engine_that_does_not_run(
    typed: Bundle, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(values: object) -> None:
        raise kind("`execute_async_v3()` failed.\nPlease see the log")

    plans = built(typed, "fp32")
    pretend(monkeypatch, typed, "fp32", refuse)
    with pytest.raises(EngineError, match=r"Polygraphy cannot run backbone: .*failed") as caught:
        verify_engines(typed, plans, GPU)
    assert "\n" not in str(caught.value)


def test_a_report_that_cannot_be_written(typed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = built(typed, "fp32")
    pretend(monkeypatch, typed, "fp32", lambda values: values)
    moved = replace(plans, folder=plans.folder / "gone" / "away")
    with pytest.raises(OutputError):
        verify_engines(typed, moved, GPU)


def test_inputs_lie_within_the_profile(typed: Bundle) -> None:
    static = ShapeProfile((64, 72), (64, 72), (64, 72), 5, 10)
    assert example_feed(typed, "fp32", "backbone", static)["image"].shape == (1, 3, 64, 72)
    rows = example_feed(typed, "fp32", "upsampler_0", static)
    assert len(rows["features"]) == 64 * 72
    assert len(rows["index"]) == len(rows["offset"]) == 10
    assert 0 <= rows["index"].min() <= rows["index"].max() < 64 * 72
    wide = ShapeProfile((1, 1), (8, 8), (1000, 1000))
    assert example_feed(typed, "fp32", "backbone", wide)["image"].shape == (1, 3, 37, 53)


def test_inputs_of_four_neighbours_lie_within_the_profile(liif_bundle: Path) -> None:
    profile = ShapeProfile((8, 9), (8, 9), (8, 9), 50, 100)
    rows = example_feed(Bundle.load(liif_bundle), "fp32", "upsampler_0", profile)
    assert rows["index"].shape == (25, 4)
    assert rows["offset"].shape == (25, 4, 2)
    assert 0 <= rows["index"].min() <= rows["index"].max() < 72


def test_engines_for_another_gpu(typed: Bundle) -> None:
    plans = build_engines(typed, "fp32", replace(SMALL, capabilities=("12.0",)))
    with pytest.raises(BackendError, match=r"--verify cannot run portable.*is for portable"):
        verify_engines(typed, plans, GPU)


# The command


def test_without_a_gpu_nothing_is_built(plain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    pattern = "--verify runs the engines on a GPU; device 'cuda' is not there: .*0 NVIDIA GPUs"
    assert_refused(build(plain.path, "--max-shape", "16x16", "--verify"), 3, pattern)
    assert not engines_folder(plain).exists()


@pytest.mark.parametrize("package", ["polygraphy", "onnxruntime"])
def test_without_a_package(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendError, match=f"--verify needs {package}, which is not installed"):
        check_can_verify("cuda")


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.5, 1)])
def test_the_command(
    plain: Bundle, factor: float, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "find_gpu", lambda device: GPU)
    pretend(monkeypatch, plain, "fp32", lambda values: values * np.float32(factor))
    ended = build(plain.path, "--max-shape", "16x16", "--verify", "--json", "-")
    assert ended.code == code, ended.stderr
    if code:
        assert "1 of 1 fp32 engines differ from ONNX Runtime" in ended.stderr
        return
    (found,) = json.loads(ended.stdout)
    assert found["verification"]["network"]["passed"] is True
    assert found["plans"]["network"]["size_bytes"] > 0
