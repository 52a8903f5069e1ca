"""The compiled passes of classifier and upsamplers against NumPy in float64, for every instruction
set.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import tolerances
from tests.runtime.networks import Scene

Hidden = Mapping[str, Sequence[int]]
Size = tuple[int, int]

ONE: Hidden = {"upsampler_0": (7, 5)}
TWO: Hidden = {"classifier": (6,), "upsampler_0": (13, 7), "upsampler_1": (5,)}
THREE: Hidden = {
    "classifier": (),
    "upsampler_0": (64, 64),
    "upsampler_1": (74, 3),
    "upsampler_2": (1,),
}
BARE: Hidden = {"classifier": (), "upsampler_0": (), "upsampler_1": ()}
DEEP: Hidden = {"classifier": (3, 6), "upsampler_0": (74, 64, 13), "upsampler_1": (6, 1, 5)}
NETWORKS = {"one": ONE, "two": TWO, "three": THREE, "bare": BARE, "deep": DEEP}
ROUTED = ["two", "three", "bare", "deep"]
SIZES = [(1, 1), (1, 9), (9, 1), (2, 3), (7, 19)]
SCALES = [1, 1.01, 1.5, 2.5, 3, 4, 7.3]
WIDE = [
    ((1, 2049), 1),
    ((1, 2500), 1.3),
    ((2, 2030), 1.01),
    ((1, 600), 4),
    ((2, 1100), 2.5),
    ((1, 300), 7.3),
]
WIDTHS = [1, 3, 5, 6, 7, 13, 64, 74]
KINDS = ["random", "heavy", "light", "corner", "without the middle"]

pytestmark = pytest.mark.usefixtures("instructions")


def _assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    gap = np.abs(found - expected)
    assert gap.max() <= tolerances.PASSES, f"max {gap.max():.2e}, mean {gap.mean():.2e}"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", SIZES)
def test_logits_and_images_of_any_size_and_scale(size: Size, scale: float) -> None:
    for hidden in NETWORKS.values():
        scene = Scene.make(size, scale, hidden)
        labels = scene.assignment()
        _assert_close(scene.composed(labels), scene.expected_image(labels))
        if "classifier" in hidden:
            logits = scene.passes.logits(scene.band(), scene.rows)
            _assert_close(logits, scene.expected("classifier"))


@pytest.mark.parametrize(("size", "scale"), WIDE)
@pytest.mark.parametrize("name", ["two", "three"])
def test_more_columns_than_one_segment(name: str, size: Size, scale: float) -> None:
    scene = Scene.make(size, scale, NETWORKS[name])
    assert scene.grid.hr_size[1] > 2048
    for kind in ("random", "corner"):
        labels = scene.assignment(kind)
        _assert_close(scene.composed(labels), scene.expected_image(labels))
    logits = scene.passes.logits(scene.band(), scene.rows)
    _assert_close(logits, scene.expected("classifier"))


@pytest.mark.parametrize("depth", [1, 5, 64, 74])
@pytest.mark.parametrize("width", WIDTHS)
def test_any_width_of_layers(width: int, depth: int) -> None:
    hidden = {"classifier": (width,), "upsampler_0": (74, width), "upsampler_1": (width, width)}
    scene = Scene.make((3, 23), 3, hidden, depth)
    labels = scene.assignment()
    _assert_close(scene.composed(labels), scene.expected_image(labels))
    _assert_close(
        scene.passes.logits(scene.band(), scene.rows),
        scene.expected("classifier"),
    )


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_pixel_gets_the_residual_of_its_own_upsampler(kind: str, name: str) -> None:
    scene = Scene.make((5, 33), 4, NETWORKS[name])
    labels = scene.assignment(kind)
    _assert_close(scene.composed(labels), scene.expected_image(labels))


@pytest.mark.parametrize("corner", [(0, 0), (0, -1), (-1, 0), (-1, -1)])
def test_one_heavy_pixel_changes_that_pixel_alone(corner: Size) -> None:
    scene = Scene.make((6, 21), 3, TWO)
    light = scene.assignment("light")
    labels = light.copy()
    labels[corner] = 0
    changed = (scene.composed(labels) != scene.composed(light)).any(axis=0)
    assert changed[corner]
    assert changed.sum() == 1


@pytest.mark.parametrize("scale", [1, 1.01, 2.5, 4])
def test_bands_of_rows_are_the_whole_image_bit_for_bit(scale: float) -> None:
    scene = Scene.make((11, 37), scale, THREE)
    labels = scene.assignment()
    whole, logits = scene.composed(labels), scene.passes.logits(scene.band(), scene.rows)
    nearest = scene.grid.rows.nearest
    for first, stop in ((0, 1), (1, 4), (4, 10), (10, 11)):
        rows = slice(*(int(edge) for edge in np.searchsorted(nearest, [first, stop])))
        band = scene.band(first, stop)
        assert np.array_equal(scene.passes.logits(band, rows), logits[:, rows])
        out = np.empty((3, rows.stop - rows.start, labels.shape[1]), np.float32)
        scene.passes.compose(band, rows, np.ascontiguousarray(labels[rows]), out, np.zeros(3))
        assert np.array_equal(out, whole[:, rows])


def test_any_rows_of_a_band_are_those_of_the_band_bit_for_bit() -> None:
    """A cut between output rows that share their nearest input row, too."""
    scene = Scene.make((5, 70), 4, TWO)
    labels = scene.assignment()
    whole, logits = scene.composed(labels), scene.passes.logits(scene.band(), scene.rows)
    for first in range(scene.rows.stop):
        rows = slice(first, min(first + 3, scene.rows.stop))
        assert np.array_equal(scene.passes.logits(scene.band(), rows), logits[:, rows])
        out = np.empty((3, 3, labels.shape[1]), np.float32)
        scene.passes.compose(scene.band(), rows, labels[rows], out, np.zeros(2))
        assert np.array_equal(out[:, : rows.stop - first], whole[:, rows])


def test_only_the_asked_for_rows_are_written() -> None:
    scene = Scene.make((4, 9), 2.5, TWO)
    labels = scene.assignment()
    rows = slice(2, 5)
    room = np.full((3, 20, labels.shape[1]), 7, np.float32)
    out = room[:, 4:9]  # planes lie 20 rows apart
    scene.passes.compose(scene.band(), rows, labels[rows], out, np.zeros(2))
    assert np.array_equal(out[:, :3], scene.composed(labels)[:, rows])
    assert (room[:, :4] == 7).all()
    assert (room[:, 7:] == 7).all()


def test_the_inputs_are_left_alone() -> None:
    scene = Scene.make((4, 9), 2.5, THREE)
    labels = scene.assignment()
    for array in (scene.features, scene.image, labels):
        array.flags.writeable = False
    scene.composed(labels)
    scene.passes.logits(scene.band(), scene.rows)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_feature_that_is_no_number_shows_in_its_pixels_and_nowhere_else(
    value: float, name: str
) -> None:
    """ReLU hides no NaN: whoever reads the logits can refuse the image."""
    scene = Scene.make((5, 40), 3, NETWORKS[name])
    labels = scene.assignment()
    clean = scene.composed(labels)
    hit = scene.spoil(value)
    spoilt = scene.composed(labels)
    assert np.isnan(spoilt[:, hit]).all()
    assert np.array_equal(spoilt[:, ~hit], clean[:, ~hit])
    if "classifier" in scene.mlps:
        logits = scene.passes.logits(scene.band(), scene.rows)
        assert np.array_equal(np.isnan(logits), np.broadcast_to(hit, logits.shape))


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
    depth=st.integers(1, 20),
    seed=st.integers(0, 2**16),
)
def test_any_network_on_any_image(
    size: Size, scale: float, layers: list[list[int]], depth: int, seed: int
) -> None:
    hidden = {f"upsampler_{index}": widths for index, widths in enumerate(layers)}
    scene = Scene.make(size, scale, {"classifier": layers[0], **hidden}, depth, seed)
    labels = scene.assignment(seed=seed)
    _assert_close(scene.composed(labels), scene.expected_image(labels))
    logits = scene.passes.logits(scene.band(), scene.rows)
    _assert_close(logits, scene.expected("classifier"))


def test_calls_of_several_sizes_in_one_thread_share_its_scratch_memory() -> None:
    scenes = [Scene.make((3, 5), 4, TWO), Scene.make((2, 900), 3, THREE)]
    for scene in [*scenes, *reversed(scenes)]:
        labels = scene.assignment()
        _assert_close(scene.composed(labels), scene.expected_image(labels))
