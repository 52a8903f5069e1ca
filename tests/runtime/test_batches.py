"""Batches: each of their images is upscaled as it is alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr import Cancellation, CancelledError, ImageError, Result, Upscaler, UsageError
from pcsr.runtime.cpu.upscaler import HostUpscaler
from pcsr.runtime.timing import recorded_spans

SIZE, COUNT = (19, 23), 5
WAYS: Sequence[Mapping[str, Any]] = (
    {},
    {"k": 1.5, "refine": False},
    {"adaptive": True},
    {"heavy_ratio": 0.3},
)


def images(channels: int = 3, dtype: str = "uint8", count: int = COUNT) -> NDArray[Any]:
    """Noise of different contrast, so that each image has a threshold of its own."""
    random = np.random.default_rng((channels, count))
    values = (
        random.random((count, *SIZE, channels)) * np.linspace(0.2, 1, count)[:, None, None, None]
    )
    peak = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    return (values * peak).astype(dtype)


@pytest.fixture(scope="module", params=["native", "onnxruntime", "torch"])
def upscaler(carn_like_bundle: Path, request: pytest.FixtureRequest) -> Upscaler:
    return Upscaler(carn_like_bundle, backend=request.param, threads=2)


def assert_same(found: Result, expected: Sequence[Result]) -> None:
    """The batch has the images and the routing of each call, and their figures in sum."""
    assert np.array_equal(found.image, np.stack([one.image for one in expected]))
    assert found.image.dtype == expected[0].image.dtype
    assert found.stats.hr_size == expected[0].stats.hr_size
    counts = [one.stats.pixels_per_upsampler for one in expected]
    assert found.stats.pixels_per_upsampler == tuple(map(sum, zip(*counts, strict=True)))
    if expected[0].assignment is None:
        assert (found.assignment, found.difficulty, found.heavy) == (None, None, None)
        return
    for name in ("assignment", "difficulty", "heavy"):
        rows = [getattr(one, name) for one in expected]
        assert np.array_equal(getattr(found, name), np.stack(rows))


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_batch_is_its_images_one_by_one(
    upscaler: Upscaler, way: Mapping[str, Any], dtype: str
) -> None:
    batch = images(dtype=dtype)
    assert_same(upscaler(batch, 2.5, **way), [upscaler(one, 2.5, **way) for one in batch])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_gray_and_alpha(upscaler: Upscaler, channels: int) -> None:
    batch = images(channels)
    if channels != 1:
        batch[1, ..., -1] = 7  # flat alpha, of one image only
    assert_same(upscaler(batch, adaptive=True), [upscaler(one, adaptive=True) for one in batch])


def test_three_upsamplers_and_a_plain_network(three_way_bundle: Path, plain_bundle: Path) -> None:
    for bundle in (three_way_bundle, plain_bundle):
        with Upscaler(bundle, threads=2) as upscaler:
            assert_same(upscaler(images()), [upscaler(one) for one in images()])


def test_large_images_have_all_threads(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        expected = upscaler(images())
        monkeypatch.setattr("pcsr.runtime.cpu.upscaler.PIXELS_OF_ONE_THREAD", 0)
        found = upscaler(images())
    assert np.array_equal(found.image, expected.image)


def test_images_at_once_through_one_runner(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in precisions where another runner may be the fastest on one thread."""
    with Upscaler(carn_like_bundle, threads=3) as upscaler:
        expected = [upscaler(one, adaptive=True) for one in images()]
        monkeypatch.setattr(HostUpscaler, "_of_one_thread", lambda self: self)
        for _ in range(20):
            assert_same(upscaler(images(), adaptive=True), expected)


def test_the_threshold_is_told_where_it_is_the_same(carn_like_bundle: Path) -> None:
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        assert upscaler(images(), k=1).stats.threshold == upscaler(images()[0], k=1).stats.threshold
        assert upscaler(images(), adaptive=True).stats.threshold is None
        stats = upscaler(images()).stats
    assert stats.lr_size == SIZE
    assert stats.total_ms > 0
    assert stats.stage_ms["backbone"] > 0


def test_tensors_and_a_single_image(upscaler: Upscaler) -> None:
    found = upscaler(torch.from_numpy(images()), 2)
    assert isinstance(found.image, torch.Tensor)
    assert isinstance(found.assignment, torch.Tensor)
    assert np.array_equal(found.image.numpy(), upscaler(images(), 2).image)
    assert upscaler(images(count=1), 2).image.shape == (1, 38, 46, 3)


def test_what_is_no_batch_is_refused(upscaler: Upscaler, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"at least one image, found shape \[0, 19, 23, 3\]"):
        upscaler(images()[:0])
    with pytest.raises(ImageError, match=r"found shape \[5, 3, 19, 23\]; \[N, channels, height"):
        upscaler(images().transpose(0, 3, 1, 2))
    with pytest.raises(ImageError, match="expected an image"):
        upscaler(images()[None])
    with pytest.raises(ImageError, match="expected an image"):
        upscaler(images()[..., 0])  # [N, h, w] might be [h, w, channels]
    with pytest.raises(ImageError, match="expected an image"):
        upscaler.stream(images(), lambda rows: None)
    with pytest.raises(UsageError, match="a batch is saved image by image"):
        upscaler(images()).save(tmp_path / "batch.png")
    assert "5 images of 92x76" in repr(upscaler(images()))


def test_a_batch_beyond_memory_ends_before_its_images_are_looked_at(upscaler: Upscaler) -> None:
    endless = np.broadcast_to(np.uint8(3), (10**11, 100, 100, 3))
    with pytest.raises(MemoryError):
        upscaler(endless)
    assert upscaler(images()).image.shape == (5, 76, 92, 3)


def test_a_bad_image_in_the_middle_ends_the_batch(upscaler: Upscaler) -> None:
    batch = images(dtype="float32")
    batch[3, 4, 5, 1] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        upscaler(batch)
    with pytest.raises(CancelledError):
        upscaler(images(), cancellation=Cancellation(timeout_s=0))
    assert upscaler(images()).image.shape == (5, 76, 92, 3)


def test_spans_of_all_images_are_recorded(carn_like_bundle: Path) -> None:
    with Upscaler(carn_like_bundle, threads=2) as upscaler, recorded_spans() as spans:
        upscaler(images())
    assert [span.name for span in spans].count("backbone") == COUNT
