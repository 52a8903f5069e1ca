"""Engines in memory: on a GPU, equal to ONNX Runtime; without one, one clear error."""

import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from pcsr import BackendError, Bundle, EngineError
from pcsr.runtime.tensorrt.engine import Engine
from pcsr.runtime.tensorrt.library import Library, load_library
from pcsr.runtime.tensorrt.profiles import Shapes
from pcsr.runtime.tensorrt.store import BuildRequest, build_engines, open_engines
from pcsr.runtime.tensorrt.target import find_gpu

SMALL = BuildRequest(Shapes((1, 1), (8, 8), (16, 16)))
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@without_gpu
def test_loading_without_a_gpu(plain: Bundle, library: Library) -> None:
    plan = build_engines(plain, "fp32", SMALL).plans["network"]
    with pytest.raises(EngineError, match=r"RTX 1\.\S+ cannot load the network engine: .*CUDA"):
        Engine(library, plan, "network")
    assert not library.log.errors, "the next error does not repeat them"


@without_gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_opening_without_a_gpu(plain: Bundle, device: str) -> None:
    with pytest.raises(BackendError, match=rf"device '{device}' is not there: .* 0 NVIDIA GPUs"):
        open_engines(plain, device)


def test_a_device_that_is_none() -> None:
    for device in ("cpu", "cuda:", "cuda:-1", "gpu"):
        with pytest.raises(BackendError, match="cuda or cuda:N"):
            find_gpu(device)


# With a GPU and TensorRT


@pytest.fixture
def gpu_bundle(carn_like_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    monkeypatch.undo()  # TensorRT itself, where it is installed
    load_library.cache_clear()
    return Bundle.load(shutil.copytree(carn_like_bundle, tmp_path / "gpu"))


def reference(bundle: Bundle, role: str, **inputs: torch.Tensor) -> torch.Tensor:
    session = ort.InferenceSession(bundle.graph_bytes(role), providers=["CPUExecutionProvider"])
    feeds = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
    found: torch.Tensor = torch.from_numpy(session.run(None, feeds)[0])
    return found


def side_stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


@pytest.mark.gpu
def test_engines_equal_onnx_runtime(gpu_bundle: Bundle) -> None:
    engines = open_engines(gpu_bundle, "cuda", request=SMALL)
    assert engines.image_limit == (16, 16)
    with torch.cuda.stream(side_stream()):
        for size in [(1, 1), (5, 7), (16, 16)]:
            image = torch.rand(1, 3, *size, device="cuda")
            features = engines.image(image).cpu()
            torch.testing.assert_close(
                features, reference(gpu_bundle, "backbone", image=image), atol=2e-5, rtol=1e-4
            )
        for role in ("classifier", "upsampler_0", "upsampler_1"):
            width = gpu_bundle.graphs("fp32")[role].inputs[0].shape[1]
            for rows in (0, 1, 77):
                inputs = {
                    "features": torch.randn(35, int(width), device="cuda"),
                    "index": torch.randint(0, 35, (rows,), dtype=torch.int32, device="cuda"),
                    "offset": torch.rand(rows, 2, device="cuda"),
                    "cell": torch.rand(2, device="cuda"),
                }
                found = engines.rows(role, **inputs).cpu()
                expected = reference(gpu_bundle, role, **inputs)
                torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.gpu
def test_what_an_engine_does_not_take(gpu_bundle: Bundle) -> None:
    engines = open_engines(gpu_bundle, "cuda", request=SMALL)
    image = torch.rand(1, 3, 8, 8, device="cuda")
    with pytest.raises(EngineError, match="stream of their own"):
        engines.image(image)
    with torch.cuda.stream(side_stream()):
        for wrong in (image.half(), image.cpu(), image.transpose(2, 3)[:, :, :4]):
            with pytest.raises(EngineError, match="takes image as contiguous"):
                engines.image(wrong)
        with pytest.raises(EngineError, match="17x8 is outside the sizes 1x1-8x8-16x16"):
            engines.image(torch.rand(1, 3, 17, 8, device="cuda"))
        assert np.isfinite(engines.image(image).cpu().numpy()).all(), "it still runs"


@pytest.mark.gpu
def test_a_captured_run_replays(gpu_bundle: Bundle) -> None:
    engines = open_engines(gpu_bundle, "cuda", request=SMALL)
    image, stream = torch.rand(1, 3, 8, 8, device="cuda"), side_stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        engines.image(image)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        features = engines.image(image)
    image.copy_(torch.rand(1, 3, 8, 8))
    graph.replay()
    torch.cuda.synchronize()
    expected = reference(gpu_bundle, "backbone", image=image)
    torch.testing.assert_close(features.cpu(), expected, atol=2e-5, rtol=1e-4)
