"""Whole frames with the fused kernels, against the native backend."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from pcsr import BackendError, ImageError, Upscaler
from pcsr.runtime.gpu import frame as frames
from pcsr.runtime.gpu.loaded_bundle import LoadedBundle
from tests import tolerances
from tests.runtime.compare import (
    assert_difficulties_agree,
    assert_images_agree,
    assert_routed_alike,
)
from tests.runtime.hosts import HOSTS

MODES: list[dict[str, Any]] = [
    {"k": 0.0},
    {"k": 0.7, "refine": False},
    {"k": -25.0},
    {"k": 25.0},
    {"adaptive": True},
    {"heavy_ratio": 0.3},
]
BUNDLES = ["carn_like_bundle", "three_way_bundle", "single_bundle", "liif_bundle"]


def _picture(height: int, width: int) -> Any:  # noqa: ANN401
    random = np.random.default_rng((height, width))
    return random.random((height, width, 3), dtype=np.float32)


@pytest.mark.parametrize("name", BUNDLES)
def test_fused_frames_are_those_of_the_native_backend(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    _assert_fused_is_native(request.getfixturevalue(name), monkeypatch)


def test_upsamplers_of_different_kinds_are_those_of_the_native_backend(
    mixed_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _assert_fused_is_native(mixed_bundle, monkeypatch)


def _assert_fused_is_native(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native, fused = Upscaler(bundle), Upscaler(bundle, backend="torch", passes="fused")
    assert fused.passes == "fused"
    image = _picture(9, 13)
    modes = MODES if native.bundle.upsamplers > 1 else [{}, {"refine": False}]
    for index, mode in enumerate(modes):
        scale = (4, 2.5)[index % 2]
        monkeypatch.setattr(frames, "BAND_PIXELS", (2**20, 500)[index // 2 % 2])
        fused.forget_shapes()
        expected, found = native(image, scale, **mode), fused(image, scale, **mode)
        assert found.assignment is not None
        assert found.difficulty is not None
        assert expected.assignment is not None
        assert expected.difficulty is not None
        same = assert_routed_alike(found.assignment, expected.assignment)
        assert_images_agree(found.image, expected.image, same, 2 * tolerances.IMAGE_FP32)
        assert_difficulties_agree(found.difficulty, expected.difficulty)
        counts = np.bincount(found.assignment.ravel(), minlength=native.bundle.upsamplers)
        assert found.stats.pixels_per_upsampler == tuple(counts)


@pytest.mark.parametrize("host", HOSTS)
def test_fused_frames_are_the_same_bits_whatever_the_host_has_set(
    carn_like_bundle: Path, host: str
) -> None:
    outside = Upscaler(carn_like_bundle, backend="torch", passes="fused")
    image, mode = _picture(6, 7), MODES[4 + list(HOSTS).index(host) % 2]
    expected = outside(image, **mode)
    with HOSTS[host]():
        inside = Upscaler(carn_like_bundle, backend="torch", passes="fused")
        found = [inside(image, **mode), outside(image, **mode)]
    for result in [*found, inside(image, **mode), outside(image, **mode)]:
        np.testing.assert_array_equal(result.image, expected.image)
        np.testing.assert_array_equal(result.assignment, expected.assignment)
        np.testing.assert_array_equal(result.difficulty, expected.difficulty)


def test_streamed_rows_are_the_image(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused = Upscaler(carn_like_bundle, backend="torch", passes="fused")
    image = (_picture(9, 13) * 255).astype(np.uint8)
    whole = fused(image, adaptive=True).image
    monkeypatch.setattr(frames, "BAND_PIXELS", 700)
    rows: list[Any] = []
    fused.stream(image, rows.append, adaptive=True)
    assert len(rows) > 1
    np.testing.assert_array_equal(np.concatenate(rows), whole)


@pytest.mark.parametrize("name", ["carn_like_bundle", "single_bundle"])
@pytest.mark.parametrize("most_pixels", [2**20, 500])
def test_pixels_that_are_no_numbers_are_refused_and_forgotten(
    name: str, most_pixels: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the first row, which only the first band keeps."""
    fused = Upscaler(request.getfixturevalue(name), backend="torch", passes="fused")
    monkeypatch.setattr(frames, "BAND_PIXELS", most_pixels)
    expected = fused(_picture(9, 13)).image
    with monkeypatch.context() as patch:
        encode = LoadedBundle.encode

        def spoiled(loaded: LoadedBundle, image: Tensor, tile_px: int | None) -> Tensor:
            features = encode(loaded, image, tile_px).clone()
            features[:, 0] = np.nan
            return features

        patch.setattr(LoadedBundle, "encode", spoiled)
        with pytest.raises(ImageError, match="network gives NaN or infinite"):
            fused(_picture(9, 13))
    np.testing.assert_array_equal(fused(_picture(9, 13)).image, expected)


def test_fused_kernels_are_refused_where_they_cannot_run(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(BackendError, match="run on a GPU"):
        Upscaler(carn_like_bundle, backend="torch", passes="fused")
