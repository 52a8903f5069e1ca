"""What only a GPU can show: recordings, streams, tensors that stay. (`make gpu` does much more.)"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr import Upscaler
from pcsr.runtime.torch_backend.capture import captured
from tests import checkpoints
from tests.exports import ALL_PRECISIONS, Exports

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU"),
]
MODES: list[dict[str, Any]] = [{"k": 0.0}, {"adaptive": True}, {"heavy_ratio": 0.3}]


@pytest.fixture
def upscaler(carn_like_bundle: Path) -> Upscaler:
    return Upscaler(carn_like_bundle, device="cuda")


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_recording_gives_what_the_first_frame_gave(
    upscaler: Upscaler, image: NDArray[np.uint8], mode: dict[str, Any]
) -> None:
    first = upscaler(image, **mode)
    for _ in range(3):
        found = upscaler(image, **mode)
        np.testing.assert_array_equal(found.image, first.image)
        assert found.stats.pixels_per_upsampler == first.stats.pixels_per_upsampler
    assert "recorded frame" in found.stats.stage_ms


def test_a_recording_takes_other_images_and_another_k(
    upscaler: Upscaler, image: NDArray[np.uint8], carn_like_bundle: Path
) -> None:
    for _ in range(3):
        upscaler(image)
    fresh = Upscaler(carn_like_bundle, device="cuda", cuda_graphs=False)
    for k in (0.0, 25.0, -25.0):
        found, expected = upscaler(image[::-1].copy(), k=k), fresh(image[::-1].copy(), k=k)
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.assignment, expected.assignment)


def test_tensors_stay_on_the_device_and_on_the_callers_stream(
    upscaler: Upscaler, image: NDArray[np.uint8]
) -> None:
    expected = upscaler(image)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(4):
            given = torch.zeros(image.shape, dtype=torch.uint8, device="cuda")
            torch.cuda._sleep(20_000_000)  # type: ignore[no-untyped-call]
            given.copy_(torch.from_numpy(image))
            found: Any = upscaler(given)
            copied = found.image.clone()
            given.fill_(255)
        stream.synchronize()
    assert copied.is_cuda
    np.testing.assert_array_equal(copied.cpu().numpy(), expected.image)
    np.testing.assert_array_equal(found.assignment.cpu().numpy(), expected.assignment)
    assert found.stats.pixels_per_upsampler == expected.stats.pixels_per_upsampler


def wait_for_the_device() -> None:
    torch.zeros(1, device="cuda").item()


def raise_an_error() -> None:
    raise ValueError("not of CUDA")


@pytest.mark.parametrize("fails", [wait_for_the_device, raise_an_error])
def test_a_capture_that_fails_leaves_nothing_behind(fails: Callable[[], None]) -> None:
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    value, before = torch.zeros(1, device="cuda"), torch.cuda.current_stream()
    with pytest.raises((RuntimeError, ValueError)):
        captured(fails, stream)
    assert torch.cuda.current_stream() == before
    torch.cuda.empty_cache()
    assert torch.randn(4, device="cuda").isfinite().all()
    captured(lambda: value.add_(1), stream).replay()
    assert value.item() == 1


def test_a_frame_that_cannot_be_captured_runs_on(
    upscaler: Upscaler, image: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = upscaler(image)

    def failing(run: Callable[[], object], stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        return captured(wait_for_the_device, stream)

    monkeypatch.setattr("pcsr.runtime.gpu.recording.captured", failing)
    with pytest.warns(RuntimeWarning, match="runs without a CUDA graph"):
        upscaler(image)
    for _ in range(2):
        found = upscaler(image)
    np.testing.assert_array_equal(found.image, first.image)
    assert "recorded frame" not in found.stats.stage_ms


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("size", [(40, 56), (281, 300)])
def test_both_ways_behind_the_backbone_agree(
    carn_like_bundle: Path, size: tuple[int, int], mode: dict[str, Any]
) -> None:
    """On the larger image tiles are tried, and the fastest are taken."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    fused, graphs = (
        Upscaler(carn_like_bundle, device="cuda", passes=passes)(image, **mode)
        for passes in ("fused", "graphs")
    )
    assert np.abs(fused.image.astype(int) - graphs.image).max() <= 1
    assert np.mean(fused.assignment != graphs.assignment) <= 1e-3


@pytest.mark.parametrize("heavy_ratio", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("widths", [(190,) * 3, (170,) * 4, (94,) * 5])
def test_wide_upsamplers_agree_in_half_precision(
    exports: Exports, widths: tuple[int, ...], precision: str, heavy_ratio: float
) -> None:
    """Their weights do not stay in shared memory. With some pixels heavy the two ways may route
    those at the threshold differently: in bf16 as many as 2 % lie on it (from fp32, on a CPU).
    """
    bundle = exports.of(checkpoints.wide(widths), ALL_PRECISIONS)
    image = np.random.default_rng(0).integers(0, 256, (120, 130, 3), dtype=np.uint8)
    fused, graphs = (
        Upscaler(bundle, device="cuda", precision=precision, passes=passes)(
            image, heavy_ratio=heavy_ratio, refine=False
        )
        for passes in ("fused", "graphs")
    )
    same = fused.assignment == graphs.assignment
    assert np.mean(~same) <= (
        0 if heavy_ratio in (0.0, 1.0) else {"fp16": 1e-2, "bf16": 4e-2}[precision]
    )
    gap = np.abs(fused.image.astype(int) - graphs.image)[same]
    assert gap.max() <= (1 if precision == "fp16" else 2), np.bincount(gap.ravel())


@pytest.mark.parametrize("size", [(40, 56), (281, 300)])
def test_upsamplers_of_different_kinds_are_those_of_the_native_backend(
    mixed_bundle: Path, size: tuple[int, int]
) -> None:
    """Four neighbours, no base: in fused kernels, recorded from the second frame on, and graphs."""
    image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    expected = Upscaler(mixed_bundle)(image, 3)
    for passes in ("fused", "graphs"):
        upscaler = Upscaler(mixed_bundle, device="cuda", passes=passes)
        for _ in range(3):
            found = upscaler(image, 3)
        same = found.assignment == expected.assignment
        assert np.mean(~same) <= 1e-3
        assert np.median(np.abs(found.image - expected.image)) <= 2e-6
        assert np.mean(np.abs(found.image - expected.image) > 1e-4) <= 1e-2


def test_the_mlp_of_liif_runs_by_the_graphs(exports: Exports) -> None:
    bundle = exports.of(checkpoints.liif_checkpoint((256,) * 4))
    image = np.random.default_rng(0).random((40, 56, 3), dtype=np.float32)
    upscaler = Upscaler(bundle, device="cuda")
    assert upscaler.passes == "graphs"
    assert np.abs(upscaler(image, 3).image - Upscaler(bundle)(image, 3).image).max() <= 1e-4
