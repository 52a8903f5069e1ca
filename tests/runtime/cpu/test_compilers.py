"""The compiled passes as clang builds them: the same instruction sets, the same images as gcc's."""

from typing import Any

import numpy as np
import pytest

from pcsr.runtime.cpu import passes as pixels
from tests import tolerances
from tests.runtime.networks import Scene

from . import native

HIDDEN = {"classifier": (13,), "upsampler_0": (64, 64), "upsampler_1": (74, 3)}


@pytest.fixture(scope="module")
def clang(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return native.build(tmp_path_factory.mktemp("clang"), "clang")


@pytest.fixture(params=native.SETS)
def instructions(
    clang: tuple[Any, Any], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> str:
    ffi, lib = clang
    index = native.SETS.index(request.param)
    if index > native.chosen(*native.shipped()):
        pytest.skip(f"this processor has no {request.param}")
    lib.choose_set(index)
    assert native.chosen(ffi, lib) == index
    monkeypatch.setattr(pixels, "ffi", ffi)
    monkeypatch.setattr(pixels, "lib", lib)
    name: str = request.param
    return name


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize(("size", "scale"), [((7, 19), 4), ((9, 5), 2.5), ((1, 2500), 1.3)])
def test_logits_and_images(size: tuple[int, int], scale: float) -> None:
    scene = Scene.make(size, scale, HIDDEN)
    labels = scene.assignment()
    gap = np.abs(scene.composed(labels) - scene.expected_image(labels))
    assert gap.max() <= tolerances.PASSES
    gap = np.abs(scene.passes.logits(scene.band(), scene.rows) - scene.expected("classifier"))
    assert gap.max() <= tolerances.PASSES


@pytest.mark.usefixtures("instructions")
def test_sigmoid_keeps_nan_and_the_histogram_puts_it_first() -> None:
    values = np.array([np.nan, -200, -1, 0, 1, 200, np.inf, -np.inf], np.float32)
    found = pixels.sigmoid(values)
    assert np.isnan(found[0])
    expected = [0, 0.26894143, 0.5, 0.7310586, 1, 1, 0]
    np.testing.assert_allclose(found[1:], expected, atol=1e-6)
    table = np.zeros((4, 2))
    pixels.add_to_histogram(np.array([np.nan, -1, 0.3, 1, 9], np.float32), table)
    assert table[:, 0].tolist() == [2, 1, 0, 2]


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_finish_clips_and_rounds(dtype: type) -> None:
    planes = np.array([-1, 0, 0.5, 1, 2, np.nan], np.float32).reshape(1, 1, 6).repeat(3, axis=0)
    out: np.ndarray = np.empty((1, 6, 3), dtype)
    pixels.finish(planes, np.zeros((1, 6), np.uint8), slice(0, 1), 0, out)
    peak = np.iinfo(dtype).max
    assert out[0, :, 0].tolist() == [0, 0, round(0.5 * peak), peak, peak, 0]
