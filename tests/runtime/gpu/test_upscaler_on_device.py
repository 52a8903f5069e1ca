"""The device-resident pipeline through its real code, on the CPU with the torch backend: bands,
tiles, memory, streams of rows, kinds of arrays. (Fidelity: `test_upscaler.py`, `test_golden.py`.)
"""

import copy
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcsr import ImageError, Upscaler, UsageError
from pcsr.bundle import Bundle
from pcsr.runtime.gpu import frame as frames
from pcsr.runtime.gpu import frame_result
from pcsr.runtime.gpu import open as device_open
from pcsr.runtime.gpu.images import Alpha
from pcsr.runtime.gpu.recording import FRAMES_KEPT, FrameCache
from pcsr.runtime.gpu.runners.open import open_runner
from pcsr.runtime.gpu.runners.protocol import DeviceRunner
from pcsr.runtime.gpu.runners.torch import TorchRunner
from pcsr.runtime.gpu.upscaler import DeviceUpscaler
from pcsr.runtime.routing.request import RoutingRequest
from tests import tolerances

MODES: list[dict[str, Any]] = [
    {"k": 0.0},
    {"k": 0.7},
    {"adaptive": True},
    {"heavy_ratio": 0.3},
    {"heavy_ratio": 1.0},
]
BUNDLES = ["carn_like_bundle", "three_way_bundle", "single_bundle"]
Make = Callable[..., Upscaler]


def picture(height: int, width: int, dtype: str = "uint8", channels: int = 3) -> NDArray[Any]:
    random = np.random.default_rng((height, width))
    image = random.random((height, width, channels)) * np.linspace(0, 1, width)[:, None]
    if dtype == "float32":
        return image.astype(np.float32)
    return (image * np.iinfo(dtype).max).astype(dtype)


@pytest.fixture(scope="module", params=BUNDLES)
def bundle(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def upscaler(carn_like_bundle: Path) -> Upscaler:
    return Upscaler(carn_like_bundle, backend="torch")


def modes_of(upscaler: Upscaler) -> list[dict[str, Any]]:
    return MODES if upscaler.bundle.upsamplers > 1 else [{}]


OPENED: dict[int, Any] = {}


@pytest.fixture(autouse=True)
def opened_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the engines that are opened, by the bundle that they run."""

    def opening(backend: str, bundle: Bundle, *options: Any) -> DeviceRunner:  # noqa: ANN401
        OPENED[id(bundle)] = found = open_runner(backend, bundle, *options)
        return found

    OPENED.clear()
    monkeypatch.setattr(device_open, "open_runner", opening)


def engines(upscaler: Upscaler) -> Any:  # noqa: ANN401
    return OPENED[id(upscaler.bundle)]


def assert_same(found: Any, expected: Any) -> None:  # noqa: ANN401
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.assignment, expected.assignment)
    np.testing.assert_array_equal(found.difficulty, expected.difficulty)
    assert found.stats.pixels_per_upsampler == expected.stats.pixels_per_upsampler
    assert found.stats.threshold == expected.stats.threshold


def assert_close(found: Any, expected: Any) -> None:  # noqa: ANN401
    """Convolutions of other sizes may sum in another order."""
    assert (found.assignment != expected.assignment).mean() <= 1e-3
    gap = np.abs(found.image.astype(float) - expected.image)
    assert (gap > 1e-4).mean() <= 1e-2


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("scale", [4, 2.5])
def test_bands_of_rows_do_not_change_the_image(
    bundle: Path, scale: float, refine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(19, 23, "float32")
    whole, banded = (Upscaler(bundle, backend="torch") for _ in range(2))
    for mode in modes_of(whole):
        expected = whole(image, scale, refine=refine, **mode)
        with monkeypatch.context() as patched:
            patched.setattr(frames, "BAND_PIXELS", 700)
            found = banded(image, scale, refine=refine, **mode)
        gap = np.abs(found.image - expected.image)
        assert gap.max() <= 1e-6
        np.testing.assert_array_equal(found.assignment, expected.assignment)
        assert found.stats.pixels_per_upsampler == expected.stats.pixels_per_upsampler


def test_rows_that_are_streamed_are_those_of_the_whole_image(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(19, 23)
    upscaler = Upscaler(bundle, backend="torch")
    for mode in modes_of(upscaler):
        expected = upscaler(image, 4, **mode)
        for band_pixels in (2**20, 700):
            monkeypatch.setattr(frames, "BAND_PIXELS", band_pixels)
            rows: list[NDArray[Any]] = []
            stats = upscaler.stream(image, rows.append, 4, **mode)
            assert len(rows) > 1 or band_pixels > 700
            np.testing.assert_array_equal(np.concatenate(rows), expected.image)
            assert stats.pixels_per_upsampler == expected.stats.pixels_per_upsampler


def test_tiles_give_the_whole_image(bundle: Path) -> None:
    image = picture(90, 70, "float32")
    whole = Upscaler(bundle, backend="torch")
    tiled = Upscaler(bundle, backend="torch", tile_px=20)
    seen: list[tuple[int, ...]] = []
    run = engines(tiled).image
    engines(tiled).image = lambda crop: seen.append(tuple(crop.shape)) or run(crop)  # type: ignore[func-returns-value]
    for mode in modes_of(whole):
        assert_close(tiled(image, 3, **mode), whole(image, 3, **mode))
    assert len(seen) > 4
    assert len(set(seen)) == 1


def test_images_beyond_the_engines_limit_are_tiled(upscaler: Upscaler) -> None:
    image = picture(120, 64, "float32")
    expected = upscaler(image)
    limit = (64, 64)
    engines(upscaler).image_limit = limit
    run = engines(upscaler).image

    def within(crop: Tensor) -> Tensor:
        assert crop.shape[2] <= limit[0]
        assert crop.shape[3] <= limit[1]
        return cast(Tensor, run(crop))

    engines(upscaler).image = within
    assert_close(upscaler(image), expected)


def test_engines_of_one_size_run_larger_images_in_tiles_of_it(upscaler: Upscaler) -> None:
    image = picture(100, 70, "float32")
    expected = upscaler(image)
    size = (64, 70)
    engines(upscaler).image_least = engines(upscaler).image_limit = size
    engines(upscaler).map_limits = (64 * 70, 64 * 70)
    fixed = DeviceUpscaler(upscaler.bundle, engines(upscaler), passes="graphs")
    run, rows = engines(upscaler).image, engines(upscaler).rows
    seen: set[Any] = set()

    def image_of_size(crop: Tensor) -> Tensor:
        seen.add(tuple(crop.shape[2:]))
        return cast(Tensor, run(crop))

    def map_of_size(role: str, features: Tensor, *rest: Tensor) -> Tensor:
        seen.add(len(features))
        return cast(Tensor, rows(role, features, *rest))

    engines(upscaler).image, engines(upscaler).rows = image_of_size, map_of_size
    assert_close(fixed(image, 4, RoutingRequest()), expected)
    assert seen == {size, 64 * 70}
    with pytest.raises(UsageError, match="at least 70x64"):
        fixed(picture(63, 70), 4, RoutingRequest())


def test_more_pixels_than_one_call_takes_are_refused(upscaler: Upscaler) -> None:
    with pytest.raises(UsageError, match="more than the 2147483647 that one call takes"):
        upscaler(picture(50, 60), 1000)


def test_a_limit_too_small_for_tiles_is_said(upscaler: Upscaler) -> None:
    engines(upscaler).image_limit = (30, 30)
    with pytest.raises(UsageError, match="at most 30x30"):
        upscaler(picture(40, 40))


class ShortOfMemory:
    """Runs a backbone on at most so many pixels; less where frames of other shapes are kept."""

    def __init__(self, upscaler: Upscaler, most: int, most_beside_others: int) -> None:
        self._upscaler, self._run = upscaler, engines(upscaler).image
        self._most, self._most_beside_others = most, most_beside_others
        self.calls = 0
        engines(upscaler).image = self

    def __call__(self, crop: Tensor) -> Tensor:
        self.calls += 1
        alone = self._upscaler.kept_shapes == 1
        if crop.shape[2] * crop.shape[3] > (self._most if alone else self._most_beside_others):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return cast(Tensor, self._run(crop))


def said(warned: Any) -> list[str]:  # noqa: ANN401
    return [str(warning.message).partition("out of memory: ")[2] for warning in warned]


def test_out_of_memory_drops_other_shapes_before_it_halves_tiles(upscaler: Upscaler) -> None:
    image, small = picture(200, 190, "float32"), picture(40, 40)
    expected = upscaler(image)
    upscaler.forget_shapes()
    short = ShortOfMemory(upscaler, 200 * 190, 100 * 100)
    upscaler(small)
    upscaler(small, k=1.0, refine=False)
    with pytest.warns(ResourceWarning) as warned:
        assert_same(upscaler(image), expected)
    assert said(warned) == ["dropped what was kept for other shapes (2), trying again"]
    assert short.calls == 2 + 2
    assert upscaler.kept_shapes == 1


def test_out_of_memory_halves_the_tile_for_images_as_large_and_says_so(upscaler: Upscaler) -> None:
    image, other = picture(200, 190, "float32"), picture(90, 100)
    expected = upscaler(image)
    upscaler.forget_shapes()
    short = ShortOfMemory(upscaler, 100 * 100, 100 * 100)
    with pytest.warns(ResourceWarning) as warned:
        found = upscaler(image)
    assert said(warned) == [
        f"images of 190x200 and more go on in tiles of {n} px" for n in (100, 50)
    ]
    assert_close(found, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        upscaler(image)
        upscaler(picture(190, 201), 4.5)
        short.calls = 0
        upscaler(other)
    assert short.calls == 1


def test_a_stream_that_lacks_memory_drops_all_kept_shapes(upscaler: Upscaler) -> None:
    image = picture(30, 40)
    expected = upscaler(image).image
    ShortOfMemory(upscaler, 0, 0)
    short = engines(upscaler).image
    engines(upscaler).image = lambda crop: short(crop) if upscaler.kept_shapes else short._run(crop)
    rows: list[NDArray[Any]] = []
    with pytest.warns(ResourceWarning) as warned:
        upscaler.stream(image, rows.append)
    assert said(warned) == ["dropped what was kept for other shapes (1), trying again"]
    np.testing.assert_array_equal(np.concatenate(rows), expected)


def test_a_frame_that_lacks_memory_is_not_held_by_its_error(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []
    run, clear = engines(upscaler).image, FrameCache.clear

    def look(frames: FrameCache) -> None:
        alive.extend(ref() is not None for ref in held)
        clear(frames)

    def once(crop: Tensor) -> Tensor:
        if not held:
            scratch = crop * 2
            held.append(weakref.ref(scratch))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return cast(Tensor, run(crop))

    monkeypatch.setattr(FrameCache, "clear", look)
    engines(upscaler).image = once
    with pytest.warns(ResourceWarning):
        upscaler(picture(100, 90))
    assert alive == [False]


def test_alpha_is_looked_at_before_the_frame_is_queued(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    run, look = engines(upscaler).image, Alpha.of
    engines(upscaler).image = lambda crop: order.append("frame") or run(crop)  # type: ignore[func-returns-value]

    def looked(image: Tensor) -> Alpha:
        order.append("look")
        return look(image)

    monkeypatch.setattr(Alpha, "of", looked)
    upscaler(picture(9, 9, channels=4))
    assert order == ["look", "frame", "frame"]


def test_out_of_memory_with_the_smallest_tile_is_one_line(upscaler: Upscaler) -> None:
    def out_of_memory(crop: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.\nSee the documentation")

    engines(upscaler).image = out_of_memory
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ImageError, match=r"little memory.*60x50.*CUDA out of memory\.$"):
            upscaler(picture(50, 60))


def test_frames_of_the_last_shapes_are_kept(upscaler: Upscaler) -> None:
    images = [picture(8, 8 + n) for n in range(FRAMES_KEPT + 1)]
    results = [upscaler(image).image for image in images]
    assert upscaler.kept_shapes == FRAMES_KEPT
    for image, expected in zip(images, results, strict=True):
        np.testing.assert_array_equal(upscaler(image).image, expected)


@pytest.mark.parametrize("name", ["carn_like_bundle", "plain_bundle"])
def test_each_frame_owns_what_the_runner_keeps_for_it(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[Any] = []

    def using(self: DeviceRunner, owner: object) -> AbstractContextManager[None]:
        owners.append(owner)
        return nullcontext()

    monkeypatch.setattr(TorchRunner, "using", using)
    monkeypatch.setattr(TorchRunner, "refusal", lambda self, owner: f"frame {owners.index(owner)}")
    upscaler = Upscaler(request.getfixturevalue(name), backend="torch")
    for width in (8, 9, 8):
        upscaler(picture(8, width))
    first, other, again = owners
    assert first is again is not other
    assert (first.shape.lr_size, other.shape.lr_size) == ((8, 8), (8, 9))
    assert first.refusal() == "frame 0"
    assert other.refusal() == "frame 1"


def test_results_outlive_the_next_frame(upscaler: Upscaler) -> None:
    first, second = picture(12, 12), picture(12, 12)[::-1].copy()
    result = upscaler(first)
    before = [result.image.copy(), result.assignment.copy(), result.difficulty.copy()]  # type: ignore[union-attr]
    upscaler(second)
    for now, then in zip([result.image, result.assignment, result.difficulty], before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_routing_is_brought_to_the_host_when_it_is_asked_for(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought: list[int] = []
    to_host = frame_result._to_host

    def bring(value: Any) -> Any:  # noqa: ANN401
        brought.append(value.numel() if isinstance(value, Tensor) else 0)
        return to_host(value)

    monkeypatch.setattr(frame_result, "_to_host", bring)
    image = picture(12, 13)
    for given in (image, torch.from_numpy(image)):
        brought.clear()
        result = upscaler(given, 2, adaptive=True)
        assert result.stats.heavy_share >= 0
        assert repr(result)
        assert sorted(brought) == [1, 1, 1, 24 * 26 * 3]  # counts, invalid, threshold, image
        assert result.assignment is result.assignment
        assert brought[4:] == [24 * 26]
        assert result.difficulty is result.difficulty
        assert brought[4:] == [24 * 26] * 2
        assert type(result.difficulty) is type(result.image)


def test_routing_is_right_after_other_frames_and_after_the_end(carn_like_bundle: Path) -> None:
    image, other = picture(12, 13), picture(12, 13)[::-1].copy()
    whole, expected = (Upscaler(carn_like_bundle, backend="torch") for _ in range(2))
    results = [whole(image, adaptive=True) for _ in range(4)]
    whole(other, adaptive=True)
    assert_same(results.pop(), expected(image, adaptive=True))
    whole.close()
    copies = [
        pickle.loads(pickle.dumps(results[0])),
        copy.copy(results[1]),
        replace(results[2], upsamplers=2),
    ]
    for result in [*copies, *results]:
        assert_same(result, expected(image, adaptive=True))
        assert result.heavy is not None


def test_two_devices_in_two_threads_do_not_wait_for_each_other(carn_like_bundle: Path) -> None:
    image = picture(12, 13)
    expected = Upscaler(carn_like_bundle, backend="torch")(image)
    both = threading.Barrier(2, timeout=60)  # breaks where one waits for the other's call to end

    def opened() -> Upscaler:
        upscaler = Upscaler(carn_like_bundle, backend="torch")
        run = engines(upscaler).image
        engines(upscaler).image = lambda crop: (both.wait(), run(crop))[1]
        return upscaler

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(upscaler, image) for upscaler in (opened(), opened())]
        for call in calls:
            assert_same(call.result(), expected)


def test_k_changes_between_frames_of_one_shape(bundle: Path) -> None:
    upscaler = Upscaler(bundle, backend="torch")
    if upscaler.bundle.upsamplers == 1:
        return
    image = picture(16, 16)
    for k in (25.0, -25.0, 0.0, 25.0):
        fresh = Upscaler(bundle, backend="torch")
        assert_same(upscaler(image, k=k), fresh(image, k=k))


def test_shares_of_heavy_pixels_change_in_one_frame(bundle: Path) -> None:
    upscaler = Upscaler(bundle, backend="torch")
    if upscaler.bundle.upsamplers == 1:
        return
    image = picture(16, 16)
    for ratio in (0.3, 1.0, 0.0, 0.7123):
        fresh = Upscaler(bundle, backend="torch")
        found = upscaler(image, heavy_ratio=ratio)
        assert_same(found, fresh(image, heavy_ratio=ratio))
        assert found.stats.heavy_share == pytest.approx(ratio, abs=1e-3)
    assert upscaler.kept_shapes == 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_kinds_of_images_are_those_of_the_native_backend(
    carn_like_bundle: Path, upscaler: Upscaler, dtype: str, channels: int
) -> None:
    image = picture(14, 17, dtype, channels)
    native = Upscaler(carn_like_bundle)
    for given in (image, image[..., 0]):
        found, expected = upscaler(given), native(given)
        assert found.image.shape == expected.image.shape
        assert found.image.dtype == expected.image.dtype
        peak = 1 if dtype == "float32" else np.iinfo(dtype).max
        gap = np.abs(found.image.astype(float) - expected.image) / peak
        assert gap.max() <= 1.01 / 255 if dtype == "uint8" else gap.max() <= 3e-5


def test_constant_alpha_is_kept(upscaler: Upscaler) -> None:
    image = picture(9, 9, channels=4)
    image[..., 3] = 200
    assert (upscaler(image).image[..., 3] == 200).all()


def test_tensors_and_foreign_byte_order_are_taken(upscaler: Upscaler) -> None:
    image = picture(9, 11, "uint16")
    expected = upscaler(image).image
    for given in (torch.from_numpy(image), image.astype(">u2"), np.asfortranarray(image)):
        np.testing.assert_array_equal(upscaler(given).image, expected)


def test_plain_networks_run_on_the_device(plain_bundle: Path) -> None:
    image = picture(21, 18)
    found = Upscaler(plain_bundle, backend="torch")(image)
    expected = Upscaler(plain_bundle)(image)
    assert np.abs(found.image.astype(int) - expected.image).max() <= 1
    assert found.assignment is None
    assert found.stats.pixels_per_upsampler == ()


def test_tiles_of_plain_networks_are_the_whole_image(plain_bundle: Path) -> None:
    image = picture(85, 67, "float32")
    whole = Upscaler(plain_bundle, backend="torch")(image)
    tiled = Upscaler(plain_bundle, backend="torch", tile_px=16)(image)
    assert np.abs(tiled.image - whole.image).max() <= tolerances.IMAGE_FP32


def test_nan_is_refused_before_and_behind_the_network(upscaler: Upscaler) -> None:
    image = picture(9, 9, "float32")
    image[4, 4] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        upscaler(image)
    run = engines(upscaler).image
    engines(upscaler).image = lambda crop: run(crop) * torch.nan
    with pytest.raises(ImageError, match="network gives NaN or infinite"):
        upscaler(picture(9, 9))


def test_the_hosts_precision_settings_are_left_alone(upscaler: Upscaler) -> None:
    seen: list[str] = []
    run = engines(upscaler).image

    def look(crop: Tensor) -> Tensor:
        seen.append(torch.get_float32_matmul_precision())
        return cast(Tensor, run(crop))

    engines(upscaler).image = look
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        upscaler(picture(8, 8))
        assert seen == ["highest"]
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_stage_times_cover_the_call(upscaler: Upscaler) -> None:
    stats = upscaler(picture(60, 60)).stats
    ways = {
        "fused": {"dense", "routing", "upsampler_0", "finish"},
        "graphs": {"compose", "upsampler_1", "classifier", "routing", "upsampler_0", "refinement"},
    }
    around = {"prepare", "upload", "backbone", "copy", "download"}
    assert set(stats.stage_ms) == around | ways[upscaler.passes]
    assert 0 < sum(stats.stage_ms.values()) <= stats.total_ms
