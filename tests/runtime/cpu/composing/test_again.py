"""What is computed again of a frame is what all of it would be, bit for bit, for every instruction
set.
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr.runtime.cpu.composing.again import finish_fresh, relabel
from pcsr.runtime.cpu.passes import finish
from tests.runtime.cpu import test_neighbours, test_passes
from tests.runtime.networks import Scene

Size = tuple[int, int]
Array = NDArray[Any]

NETWORKS = {
    **{name: (hidden, {}) for name, hidden in test_passes.NETWORKS.items()},
    **test_neighbours.NETWORKS,
}
SHARES = [0.0, 0.01, 0.3, 1.0]
CASES = [((1, 1), 1), ((1, 9), 2.5), ((9, 1), 3), ((7, 19), 1.01), ((6, 40), 4), ((3, 150), 5)]
CASES += [((2, 3), 20.5), ((2, 2100), 1), ((2, 600), 4), ((2, 700), 7.3)]

pytestmark = pytest.mark.usefixtures("instructions")


@pytest.mark.parametrize("name", NETWORKS)
def test_chosen_pixels_are_composed_as_with_all_others(name: str) -> None:
    random = np.random.default_rng(0)
    hidden, ways = NETWORKS[name]
    for size, scale in CASES:
        scene = Scene.make(size, scale, hidden, ways=ways)
        labels = scene.assignment()
        if "classifier" not in hidden:
            labels[:] = 0
        for share in SHARES:
            chosen = random.random(labels.shape) < share
            planes = np.full((3, *labels.shape), 7, np.float32)
            args = scene.band(), scene.rows, labels, chosen, planes, np.zeros(len(scene.mlps))
            assert scene.passes.compose_listed(*args)
            assert np.array_equal(planes, np.where(chosen, scene.composed(labels), np.float32(7)))


def test_chosen_pixels_of_some_rows_of_a_band() -> None:
    scene = Scene.make((11, 37), 3, test_passes.TWO)
    labels, rows = scene.assignment(), slice(5, 17)
    chosen = np.random.default_rng(0).random((12, 111)) < 0.2
    planes = np.full((3, *labels.shape), 7, np.float32)
    seconds = np.zeros(2)
    scene.passes.compose_listed(
        scene.band(1, 7), rows, labels[rows], chosen, planes[:, rows], seconds
    )
    assert np.array_equal(
        planes[:, rows], np.where(chosen, scene.composed(labels)[:, rows], np.float32(7))
    )
    assert (planes[:, :5] == 7).all()
    assert (planes[:, 17:] == 7).all()
    assert (seconds > 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_told(value: float) -> None:
    scene = Scene.make((5, 9), 2, test_passes.TWO)
    labels, chosen = scene.assignment(), np.zeros((10, 18), dtype=np.bool_)
    band = scene.band()
    band.image[:, 4, 8] = value
    planes = np.zeros((3, 10, 18), np.float32)
    for place, is_finite in (((0, 0), True), ((9, 17), False)):
        chosen[place] = True
        args = band, scene.rows, labels, chosen, planes, np.zeros(2)
        assert scene.passes.compose_listed(*args) == is_finite


SIZES = [(1, 1), (1, 70), (70, 1), (2, 2), (3, 3), (9, 13), (5, 64), (4, 65), (3, 300), (40, 129)]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("size", SIZES)
def test_fresh_pixels_are_finished_as_with_all_others(size: Size, dtype: str) -> None:
    random = np.random.default_rng((1, *size))
    before, labels = random.random((3, *size), dtype=np.float32), random.integers(0, 3, size)
    labels = labels.astype(np.uint8)
    for share in (0, 0.003, 0.02, 0.3, 1):
        for refine_below in (0, 1, 2):
            image = _finished(before, labels, refine_below, dtype)
            fresh = random.random(size) < share
            planes = np.where(fresh, random.random((3, *size), dtype=np.float32), before)
            others = np.where(fresh, random.integers(0, 3, size), labels).astype(np.uint8)
            for start in range(0, size[0], 7):
                rows = slice(start, min(start + 7, size[0]))
                finish_fresh(planes, others, fresh, rows, refine_below, image[rows])
            assert np.array_equal(image, _finished(planes, others, refine_below, dtype))


def _finished(planes: Array, labels: Array, refine_below: int, dtype: str) -> Array:
    out = np.empty((*labels.shape, 3), dtype=dtype)
    finish(planes, labels, slice(0, len(labels)), refine_below, out)
    return out


def test_pixels_far_from_fresh_ones_are_left_alone() -> None:
    planes, labels = np.ones((3, 9, 500), np.float32), np.ones((9, 500), np.uint8)
    fresh, out = np.zeros((9, 500), dtype=np.bool_), np.zeros((9, 500, 3), np.uint8)
    fresh[4, 200] = True
    finish_fresh(planes, labels, fresh, slice(0, 9), 1, out)
    assert (out[3:6, 199:202] == 255).all()
    assert not out[:3].any()
    assert not out[6:].any()
    assert not out[:, :199].any()
    assert not out[:, 300:].any()


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
@pytest.mark.parametrize("limits", [[0.5], [0.75, 0.25], [np.inf], [-np.inf], [0.9, 0.5, 0.5, 0.1]])
def test_labels_are_the_number_of_limits_that_a_key_lies_below(
    count: int, limits: list[float]
) -> None:
    """Keys that equal a limit, or lie just below or above, too."""
    random = np.random.default_rng(count)
    bounds = np.array(limits, np.float32)
    near = [np.nextafter(bounds, np.float32(end)) for end in (-9, 9)]
    keys = random.choice(np.concatenate([[0, 1, 0.3], bounds, *near]).astype(np.float32), count)
    labels = random.integers(0, len(limits) + 1, count).astype(np.uint8)
    fresh = random.random(count) < 0.1
    expected = (keys[:, None] < bounds).sum(axis=1)
    differs, counts = labels != expected, np.bincount(labels, minlength=len(limits) + 1)
    fresh_before = fresh.copy()
    grown = relabel(keys, bounds, labels, fresh)
    assert np.array_equal(labels, expected)
    assert np.array_equal(fresh, fresh_before | differs)
    assert np.array_equal(counts + grown, np.bincount(expected, minlength=len(limits) + 1))
