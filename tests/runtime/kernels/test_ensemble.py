"""The passes of upsamplers with four neighbours, or without a base, against float64."""

import itertools
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch

from pcsr.runtime.kernels import ensemble
from tests import tolerances
from tests.runtime.networks import Scene

from .scenes import CARN, FSRCNN, ONE, THREE, THREE_LINEAR, Band, Hidden

Way = tuple[Literal[1, 4], Literal["bilinear", "none"]]
WAYS: list[Way] = [*itertools.product((1, 4), ("bilinear", "none"))]  # type: ignore[list-item]
OTHERS = WAYS[1:]  # than the paper's
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float16])


def assert_colours(band: Band, allowed: float | None = None) -> None:
    """Of the lightest for all pixels, and of the heavier ones for theirs; and the logits."""
    allowed = tolerances.KERNELS[str(band.dtype)] if allowed is None else allowed
    canvas, logits = band.dense()
    expected = band.expected_image(band.labels("light"))
    assert np.abs(canvas.numpy() - expected).max() <= allowed
    if logits is not None:
        assert np.abs(logits.numpy() - band.expected_logits()).max() <= allowed
    labels = band.labels()
    band.sparse(canvas, labels, 2)
    assert np.abs(canvas.numpy() - band.expected_image(labels)).max() <= allowed


def ways(*found: Way) -> dict[str, Any]:
    return {f"upsampler_{j}": way for j, way in enumerate(found)}


@pytest.mark.parametrize("way", OTHERS)
@pytest.mark.parametrize("widths", [[], [16], [40] * 2, [74, 60]])
@each_dtype
def test_a_single_upsampler(way: Way, widths: list[int], dtype: torch.dtype) -> None:
    scene = Scene.make((4, 5), 2.5, {"upsampler_0": widths}, ways=ways(way))
    assert_colours(Band(scene, dtype))


@pytest.mark.parametrize(("heavy", "light"), [*itertools.product(WAYS, WAYS)][1:])
@pytest.mark.parametrize("hidden", [CARN, FSRCNN], ids=["carn", "fsrcnn"])
def test_two_upsamplers(heavy: Way, light: Way, hidden: Hidden) -> None:
    """FSRCNN's classifier is a single layer."""
    assert_colours(Band(Scene.make((4, 5), 3, hidden, ways=ways(heavy, light))))


@pytest.mark.parametrize("light", OTHERS)
@pytest.mark.parametrize("hidden", [THREE, THREE_LINEAR], ids=["three", "three linear"])
@each_dtype
def test_three_upsamplers(light: Way, hidden: Hidden, dtype: torch.dtype) -> None:
    """The lightest is a single layer."""
    scene = Scene.make((4, 5), 2.5, hidden, ways=ways((4, "none"), (1, "bilinear"), light))
    assert_colours(Band(scene, dtype))


@pytest.mark.parametrize("scale", [1, 1.7, 3, 5])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (7, 3)])
def test_any_size_and_scale(size: tuple[int, int], scale: float) -> None:
    """At x3 and x5 some areas are zero but for what is added to them."""
    assert_colours(Band(Scene.make(size, scale, FSRCNN, ways=ways((4, "none"), (4, "bilinear")))))


@pytest.mark.parametrize(("first", "stop"), [(5, 18), (29, 30), (0, 2)])
def test_a_band_is_that_of_the_whole_image(first: int, stop: int) -> None:
    scene = Scene.make((10, 4), 3, CARN, ways=ways((4, "none"), (4, "bilinear")))
    assert_colours(Band(scene, first=first, stop=stop))


def test_the_mlp_of_liif() -> None:
    scene = Scene.make((3, 4), 2, {"upsampler_0": [256] * 4}, ways=ways((4, "none")))
    assert_colours(Band(scene))


@pytest.mark.parametrize("programs", [1, 3])
def test_each_program_takes_several_tiles(programs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pcsr.runtime.kernels.launch.INTERPRETED_BLOCK", 32)
    band = Band(Scene.make((5, 11), 3, ONE, ways=ways((4, "none"))))
    canvas = torch.full((*band.size, 3), np.nan)
    ensemble(band.inputs(), 0, None, canvas, programs)
    expected = band.expected_image(band.labels("heavy"))
    assert np.abs(canvas.numpy() - expected).max() <= tolerances.KERNELS[str(torch.float32)]


def test_a_nan_of_the_features_reaches_the_colours_around() -> None:
    scene = Scene.make((5, 5), 4, ONE, ways=ways((4, "none")))
    scene.features[0, 2, 2] = np.nan
    is_nan = np.isnan(Band(scene).dense()[0].numpy()).all(axis=-1)
    assert is_nan[6:14, 6:14].all()
    assert is_nan.sum() == 64


def test_tensors_that_do_not_fit_are_refused() -> None:
    band = Band(Scene.make((2, 3), 2, ONE, ways=ways((4, "none"))))
    inputs, canvas = band.inputs(), torch.zeros((*band.size, 3))
    pixels, count = (torch.zeros(n, dtype=torch.int32) for n in (24, 1))
    for listed, changed in (
        ((pixels.long(), count), inputs),
        ((pixels[1:], count), inputs),
        ((pixels, count.long()), inputs),
        (None, replace(inputs, pre=inputs.pre.half())),
        (None, replace(inputs, first=1)),
    ):
        with pytest.raises(ValueError, match=r"expected|rows"):
            ensemble(changed, 0, listed, canvas)
