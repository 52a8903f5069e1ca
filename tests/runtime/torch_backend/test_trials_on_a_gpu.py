"""Trials between cuDNN and our convolutions where there is a GPU."""

from pathlib import Path

import onnx
import pytest
import torch

from pcsr.bundle import Bundle
from pcsr.runtime.torch_backend.graph import OperatorGraph, read_graph
from pcsr.runtime.torch_backend.images.first import TILES
from pcsr.runtime.torch_backend.module import OnnxModule
from pcsr.runtime.torch_backend.replacing.candidates import (
    OPERATORS,
    candidates,
    improved,
    measured,
)
from pcsr.runtime.torch_backend.replacing.sites import Site, sites_of
from pcsr.runtime.torch_backend.rewrites import dense_groups

from . import made
from .test_sites import image_graph

FP16 = 1e-2  # of values about 1, after tens of layers of 11 bits
BUNDLES = ["carn_like_bundle", "three_way_bundle"]
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")


def ours(site: Site) -> str:
    return next(name for name in candidates(site, ours) if name.startswith("one kernel"))


def half_of(path: Path) -> bytes:
    model = onnx.load_model_from_string(Bundle.load(path).graph_bytes("backbone"))
    data: bytes = made.typed(model, made.TYPES["fp16"][0]).SerializeToString()
    return data


@pytest.mark.parametrize("name", BUNDLES)
def test_on_the_cpu_nothing_is_tried(name: str, request: pytest.FixtureRequest) -> None:
    """Though there would be something to try."""
    data = half_of(request.getfixturevalue(name))
    assert OnnxModule(data).choices == ["channels first", "no fused convolutions"]
    assert {"First", "Grouped", "Pointwise"} & {
        n.op for n in improved(read_graph(data), ours).nodes
    }


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("forced", [False, True])
def test_on_a_gpu_it_computes_the_same_and_can_be_captured(
    name: str, forced: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, image = half_of(request.getfixturevalue(name)), torch.rand(1, 3, 33, 47)
    (expected,) = OnnxModule(data, outputs=["features"])(image)
    if forced:
        monkeypatch.setattr(
            "pcsr.runtime.torch_backend.module.tuned",
            lambda graph, _device: (dense_groups(improved(graph, ours)), []),
        )
    module = OnnxModule(data, torch.device("cuda"), ["features"])
    print("; ".join(module.choices))  # noqa: T201
    assert forced or "one kernel" in "; ".join(module.choices)
    assert "wrong by" not in "; ".join(module.choices)
    still = torch.zeros_like(image, device="cuda")
    module(still)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        (found,) = module(still)
    still.copy_(image)
    graph.replay()
    largest = max(1.0, expected.abs().max().item())
    assert (found.float().cpu() - expected.float()).abs().max() <= FP16 * largest


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("name", BUNDLES)
def test_on_a_gpu_each_of_our_kernels_compiles_and_agrees_with_cudnn(
    name: str, request: pytest.FixtureRequest
) -> None:
    graph = read_graph(half_of(request.getfixturevalue(name)), ["features"])
    for site in [*sites_of(graph), *sites_of(graph, most_parts=1)]:
        outcome = measured(site, torch.device("cuda"))
        print(f"{site.key}: {outcome}")  # noqa: T201
        assert not [kind for kind in outcome.dropped if kind.startswith("one kernel")]


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (70, 301)])
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("mean", [(0.4, 0.5, 0.6), (0.0, 0.0, 0.0)])
def test_on_a_gpu_an_image_is_convolved_as_by_cudnn(
    mean: tuple[float, ...],
    tile: tuple[int, ...],
    size: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the trial says, and whatever the image's strides are."""
    room, image = "pcsr.runtime.torch_backend.module", torch.rand(2, 3, *size, device="cuda")
    ours, graph = f"one kernel {'x'.join(map(str, tile))}", image_graph(mean)

    def module(choice: str) -> OnnxModule:
        def forced(graph: OperatorGraph, _device: torch.device) -> tuple[OperatorGraph, list[str]]:
            return improved(graph, lambda _site: choice), []

        monkeypatch.setattr(f"{room}.read_graph", lambda *_arguments: graph)
        monkeypatch.setattr(f"{room}.tuned", forced)
        return OnnxModule(b"", torch.device("cuda"))

    (expected,) = module(OPERATORS)(image)
    for given in (image, image.contiguous(memory_format=torch.channels_last)):
        (found,) = module(ours)(given)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert (found - expected).abs().max() <= FP16 * max(1.0, expected.abs().max().item())
