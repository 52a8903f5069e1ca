"""The compiled passes of upsamplers with four neighbours or without a base, against NumPy in
float64, for every instruction set.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import tolerances
from tests.runtime import liif
from tests.runtime.networks import Scene

Hidden = Mapping[str, Sequence[int]]
Ways = Mapping[str, tuple[Literal[1, 4], Literal["bilinear", "none"]]]
Size = tuple[int, int]

ONE: Hidden = {"upsampler_0": (7, 5)}
TWO: Hidden = {"classifier": (6,), "upsampler_0": (64, 13), "upsampler_1": (5,)}
THREE: Hidden = {
    "classifier": (),
    "upsampler_0": (74, 3),
    "upsampler_1": (),
    "upsampler_2": (6,),
}
NETWORKS: dict[str, tuple[Hidden, Ways]] = {
    "liif": (ONE, {"upsampler_0": (4, "none")}),
    "baseless": (ONE, {"upsampler_0": (1, "none")}),
    "ensemble": (ONE, {"upsampler_0": (4, "bilinear")}),
    "heavy": (TWO, {"upsampler_0": (4, "none")}),
    "light": (TWO, {"upsampler_1": (4, "none")}),
    "both": (TWO, {"upsampler_0": (4, "bilinear"), "upsampler_1": (4, "none")}),
    "three": (THREE, {"upsampler_0": (4, "none"), "upsampler_1": (4, "bilinear")}),
    "mixed": (THREE, {"upsampler_1": (1, "none"), "upsampler_2": (4, "none")}),
}
SIZES = [(1, 1), (1, 9), (9, 1), (2, 3), (7, 19)]
SCALES = [1, 1.01, 1.5, 2.5, 3, 4, 5, 7.3]
WIDE = [((1, 2049), 1), ((2, 2030), 1.01), ((1, 600), 4), ((2, 1100), 2.5), ((1, 700), 3)]
KINDS = ["random", "heavy", "light", "corner", "without the middle"]
each_network = pytest.mark.parametrize("name", NETWORKS)

pytestmark = pytest.mark.usefixtures("instructions")


def _scene(name: str, size: Size, scale: float) -> Scene:
    hidden, ways = NETWORKS[name]
    return Scene.make(size, scale, hidden, ways=ways)


def _assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    gap = np.abs(found - expected)
    assert gap.max() <= tolerances.PASSES, f"max {gap.max():.2e}, mean {gap.mean():.2e}"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", SIZES)
def test_images_of_any_size_and_scale(size: Size, scale: float) -> None:
    for name in NETWORKS:
        scene = _scene(name, size, scale)
        labels = scene.assignment()
        _assert_close(scene.composed(labels), scene.expected_image(labels))
        if "classifier" in scene.mlps:
            logits = scene.passes.logits(scene.band(), scene.rows)
            _assert_close(logits, scene.expected("classifier"))


@pytest.mark.parametrize(("size", "scale"), WIDE)
@pytest.mark.parametrize("name", ["liif", "heavy", "mixed"])
def test_more_columns_than_one_segment(name: str, size: Size, scale: float) -> None:
    scene = _scene(name, size, scale)
    assert scene.grid.hr_size[1] > 2048
    for kind in ("random", "corner"):
        labels = scene.assignment(kind)
        _assert_close(scene.composed(labels), scene.expected_image(labels))


@each_network
@pytest.mark.parametrize("kind", KINDS)
def test_each_pixel_gets_base_and_residual_of_its_own_upsampler(kind: str, name: str) -> None:
    scene = _scene(name, (5, 33), 4)
    labels = scene.assignment(kind)
    _assert_close(scene.composed(labels), scene.expected_image(labels))


@pytest.mark.parametrize("corner", [(0, 0), (0, -1), (-1, 0), (-1, -1)])
def test_one_heavy_pixel_changes_that_pixel_alone(corner: Size) -> None:
    scene = _scene("heavy", (6, 21), 3)
    light = scene.assignment("light")
    labels = light.copy()
    labels[corner] = 0
    changed = (scene.composed(labels) != scene.composed(light)).any(axis=0)
    assert changed[corner]
    assert changed.sum() == 1


@each_network
@pytest.mark.parametrize("scale", [1, 1.01, 2.5, 3, 4])
def test_bands_of_rows_are_the_whole_image_bit_for_bit(scale: float, name: str) -> None:
    scene = _scene(name, (11, 37), scale)
    labels = scene.assignment()
    whole, nearest = scene.composed(labels), scene.grid.rows.nearest
    for first, stop in ((0, 1), (1, 4), (4, 10), (10, 11)):
        rows = slice(*(int(edge) for edge in np.searchsorted(nearest, [first, stop])))
        out = np.empty((3, rows.stop - rows.start, labels.shape[1]), np.float32)
        mine = np.ascontiguousarray(labels[rows])
        scene.passes.compose(scene.band(first, stop), rows, mine, out, np.zeros(3))
        assert np.array_equal(out, whole[:, rows])


@pytest.mark.parametrize("name", ["liif", "both"])
def test_any_rows_of_a_band_are_those_of_the_band_bit_for_bit(name: str) -> None:
    scene = _scene(name, (5, 70), 4)
    labels = scene.assignment()
    whole = scene.composed(labels)
    for first in range(scene.rows.stop):
        rows = slice(first, min(first + 3, scene.rows.stop))
        out = np.empty((3, 3, labels.shape[1]), np.float32)
        scene.passes.compose(scene.band(), rows, labels[rows], out, np.zeros(2))
        assert np.array_equal(out[:, : rows.stop - first], whole[:, rows])


@pytest.mark.parametrize("name", ["liif", "heavy"])
def test_a_feature_that_is_no_number_shows_in_the_pixels_that_read_it_and_nowhere_else(
    name: str,
) -> None:
    scene = _scene(name, (5, 40), 3)
    labels = scene.assignment("heavy")
    clean = scene.composed(labels)
    scene.features[0, 2, 30] = np.nan
    hit = np.zeros(labels.shape, bool)
    for at in liif.corners(scene.grid.lr_size, scene.grid.hr_size):
        hit |= (at.rows == 2) & (at.columns == 30)
    spoilt = scene.composed(labels)
    assert np.isnan(spoilt[:, hit]).all()
    assert np.array_equal(spoilt[:, ~hit], clean[:, ~hit])


@settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 90)),
    scale=st.floats(1, 8),
    layers=st.lists(st.lists(st.integers(1, 20), max_size=3), min_size=1, max_size=4),
    ways=st.lists(
        st.tuples(st.sampled_from([1, 4]), st.sampled_from(["bilinear", "none"])),
        min_size=4,
        max_size=4,
    ),
    seed=st.integers(0, 2**16),
)
def test_any_network_on_any_image(
    size: Size,
    scale: float,
    layers: list[list[int]],
    ways: list[tuple[Literal[1, 4], Literal["bilinear", "none"]]],
    seed: int,
) -> None:
    roles = [f"upsampler_{index}" for index in range(len(layers))]
    hidden = dict(zip(roles, layers, strict=True))
    mine = dict(zip(roles, ways, strict=False))
    scene = Scene.make(size, scale, {"classifier": layers[0], **hidden}, seed=seed, ways=mine)
    labels = scene.assignment(seed=seed)
    _assert_close(scene.composed(labels), scene.expected_image(labels))
