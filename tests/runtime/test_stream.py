"""Rows handed on as soon as they are finished: those of a call, in order, each once."""

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr import ImageError, Upscaler, UsageError
from pcsr.runtime.cpu import planning
from pcsr.runtime.result import Stats

SIZE = (41, 23)
SCALE = 2.5
MODES: list[dict[str, Any]] = [
    {},
    {"k": 0.5},
    {"adaptive": True},
    {"heavy_ratio": 0.3},
    {"refine": False},
]
PEAK = {"uint8": 255, "uint16": 65535, "float32": 1}
NAMES = ["carn_like_bundle", "three_way_bundle", "single_bundle", "plain_bundle"]


def _image(shape: tuple[int, ...], dtype: str = "uint8") -> NDArray[Any]:
    values = np.random.default_rng(shape).random(shape) * PEAK[dtype]
    return values.astype(dtype)


def _streamed(
    upscaler: Upscaler,
    image: NDArray[Any],
    scale: float | None = None,
    options: Mapping[str, Any] = MODES[0],
) -> tuple[list[NDArray[Any]], Stats]:
    parts: list[NDArray[Any]] = []
    stats = upscaler.stream(image, parts.append, scale, **options)
    return parts, stats


@pytest.fixture(scope="module")
def upscaler(carn_like_bundle: Path) -> Upscaler:
    """In bands of at most 16 input rows."""
    return Upscaler(carn_like_bundle, tile_px=16)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_rows_are_those_of_a_call(upscaler: Upscaler, channels: int | None, dtype: str) -> None:
    image = _image(SIZE if channels is None else (*SIZE, channels), dtype)
    expected = upscaler(image, SCALE).image
    parts, _ = _streamed(upscaler, image, SCALE)
    assert len(parts) == 3
    found = np.concatenate(parts)
    assert found.dtype == image.dtype
    assert found.shape == (*expected.shape[:2], channels or 1)
    assert np.array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("options", MODES)
def test_every_mode(upscaler: Upscaler, options: dict[str, Any]) -> None:
    image = _image((*SIZE, 3))
    expected = upscaler(image, SCALE, **options)
    parts, stats = _streamed(upscaler, image, SCALE, options)
    assert np.array_equal(np.concatenate(parts), expected.image)
    assert stats.pixels_per_upsampler == expected.stats.pixels_per_upsampler
    assert stats.threshold == expected.stats.threshold
    assert (stats.lr_size, stats.hr_size) == (SIZE, expected.image.shape[:2])


@pytest.mark.parametrize("backend", ["native", "onnxruntime"])
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_bundle(name: str, backend: str, request: pytest.FixtureRequest) -> None:
    upscaler = Upscaler(request.getfixturevalue(name), backend=backend, tile_px=16)
    image = _image((*SIZE, 3))
    parts, _ = _streamed(upscaler, image)
    assert np.array_equal(np.concatenate(parts), upscaler(image).image)


@pytest.mark.usefixtures("tiny_tiles")
@pytest.mark.parametrize(
    ("tile_px", "scale"),
    [
        *[(1, 4), (2, 1), (2, 4), (3, 1), (3, 1.01), (16, 1), (16, 2.5)],
        *[(1, 1), (1, 1.01), (1, 2), (2, 2)],  # bands of one or two output rows
    ],
)
def test_every_row_comes_once(carn_like_bundle: Path, tile_px: int, scale: float) -> None:
    upscaler = Upscaler(carn_like_bundle, tile_px=tile_px)
    image = _image((9, 5, 3))
    parts, stats = _streamed(upscaler, image, scale)
    assert sum(len(part) for part in parts) == stats.hr_size[0]
    assert np.array_equal(np.concatenate(parts), upscaler(image, scale).image)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 2)])
def test_small_images(upscaler: Upscaler, size: tuple[int, int]) -> None:
    image = _image((*size, 3))
    for scale in (1, 2.5):
        parts, _ = _streamed(upscaler, image, scale)
        assert np.array_equal(np.concatenate(parts), upscaler(image, scale).image)


def test_rows_may_be_kept_by_the_caller(upscaler: Upscaler) -> None:
    """No part shares memory with a later one."""
    parts, _ = _streamed(upscaler, _image((*SIZE, 3)), SCALE)
    copies: list[NDArray[Any]] = []
    upscaler.stream(_image((*SIZE, 3)), lambda rows: copies.append(rows.copy()), SCALE)
    for part, copy in zip(parts, copies, strict=True):
        assert np.array_equal(part, copy)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_refused_before_the_first_row(upscaler: Upscaler, channels: int) -> None:
    parts: list[NDArray[Any]] = []
    with pytest.raises(ImageError, match="alpha cannot be streamed; upscale it whole"):
        upscaler.stream(_image((*SIZE, channels)), parts.append)
    assert parts == []


@pytest.mark.parametrize(
    "options", [{"scale": 0.5}, {"k": 1.0, "adaptive": True}, {"heavy_ratio": 2.0}]
)
def test_options_are_refused_as_in_a_call(upscaler: Upscaler, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as streamed:
        upscaler.stream(_image((*SIZE, 3)), print, **options)
    with pytest.raises(UsageError) as called:
        upscaler(_image((*SIZE, 3)), **options)
    assert str(streamed.value) == str(called.value)


def test_an_error_of_the_taker_comes_through_and_the_upscaler_goes_on(upscaler: Upscaler) -> None:
    taken: list[int] = []

    def take(rows: NDArray[Any]) -> None:
        taken.append(len(rows))
        if len(taken) == 2:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        upscaler.stream(_image((*SIZE, 3)), take, SCALE)
    assert len(taken) == 2
    assert upscaler(_image((*SIZE, 3)), SCALE).image.any()


def test_the_taker_may_upscale_too(upscaler: Upscaler) -> None:
    """Twice by 2.5, for example."""
    image, parts = _image((*SIZE, 3)), []
    expected = upscaler(image, SCALE).image

    def take(rows: NDArray[Any]) -> None:
        parts.append(rows)
        upscaler(rows, SCALE)

    upscaler.stream(image, take, SCALE)
    assert np.array_equal(np.concatenate(parts), expected)


def test_a_nan_deep_in_a_float_image_is_refused(upscaler: Upscaler) -> None:
    image = _image((*SIZE, 3), "float32")
    image[-1, -1, 0] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        upscaler.stream(image, lambda rows: None)


def test_memory_does_not_grow_with_the_image(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input row makes 768 bytes of output here, and 4 KiB of what goes into it."""
    monkeypatch.setattr(planning, "WORKING_BYTES", 0)

    def peak(height: int, options: Mapping[str, Any]) -> int:
        image = np.zeros((height, 64, 3), np.uint8)
        tracemalloc.start()
        upscaler.stream(image, lambda rows: None, 2, **options)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    for options in MODES[0], MODES[2]:
        peak(64, options)  # threads get their scratch memory
        more_rows = 640 - 64
        assert peak(640, options) - peak(64, options) < 200 * more_rows  # axes and windows
