"""Bilinear upsampling and pixel-wise refinement (section 3.4) against loops over pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pcsr.runtime.cpu.graph_pipeline import add_bilinear, refine_rows
from pcsr.runtime.geometry.grid import Grid
from tests import tolerances
from tests.runtime import reference

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Size = tuple[int, int]

SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (2, 9), (3, 3), (3, 5), (9, 13)]
each_size = pytest.mark.parametrize("size", SIZES)


def _random(size: Size, share: float = 0.3) -> tuple[Floats, Mask]:
    random = np.random.default_rng(size)
    return random.random((*size, 3), dtype=np.float32), random.random(size) < share


def _refine(image: Floats, heavy: Mask) -> Floats:
    return refine_rows(image, heavy, slice(0, len(image)))


def _upsample(image: Floats, scale: float) -> Floats:
    grid = Grid.make((image.shape[0], image.shape[1]), scale)
    out = np.zeros((*grid.hr_size, 3), dtype=np.float32)
    add_bilinear(out, image, grid, slice(0, grid.hr_size[0]))
    return out


@each_size
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.9, 1.0])
def test_refinement_is_that_of_a_double_loop(size: Size, share: float) -> None:
    image, heavy = _random(size, share)
    found = _refine(image, heavy)
    assert found.dtype == np.float32
    assert np.abs(found - reference.refine(image, heavy)).max() <= tolerances.REFINED


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1), st.integers(0, 2**16))
def test_refinement_of_any_map_is_that_of_a_double_loop(
    height: int, width: int, share: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    image = random.normal(0.5, 1, (height, width, 3)).astype(np.float32)
    heavy = random.random((height, width)) < share
    expected = reference.refine(image, heavy)
    assert np.abs(_refine(image, heavy) - expected).max() <= 4 * tolerances.REFINED


@each_size
def test_refinement_changes_only_light_pixels_inside_the_frame_beside_a_heavy_one(
    size: Size,
) -> None:
    image, heavy = _random(size)
    changed = (_refine(image, heavy) != image).any(axis=-1)
    assert not changed[heavy].any()
    assert not changed[[0, -1]].any()
    assert not changed[:, [0, -1]].any()
    for i, j in np.argwhere(changed):
        assert heavy[i - 1 : i + 2, j - 1 : j + 2].any()


@each_size
@pytest.mark.parametrize("heavy", [False, True])
def test_an_image_all_light_or_all_heavy_is_not_refined(size: Size, heavy: bool) -> None:
    image, _ = _random(size)
    assert np.array_equal(_refine(image, np.full(size, heavy)), image)


def test_the_mean_is_of_nine_unrefined_pixels_itself_included() -> None:
    image = np.zeros((5, 6, 3), dtype=np.float32)
    image[2, 2] = 9
    heavy = np.zeros((5, 6), dtype=bool)
    heavy[2, 4] = True
    expected = image.copy()
    expected[1:4, 3] = 1
    assert np.abs(_refine(image, heavy) - expected).max() <= 9 * tolerances.REFINED


@pytest.mark.parametrize("corner", [(0, 0), (0, 4), (4, 0), (4, 4), (0, 2)])
def test_a_heavy_pixel_on_the_frame_refines_its_neighbours_inside(corner: Size) -> None:
    image, _ = _random((5, 5))
    heavy = np.zeros((5, 5), dtype=bool)
    heavy[corner] = True
    changed = (_refine(image, heavy) != image).any(axis=-1)
    near = np.abs(np.indices((5, 5)) - np.array(corner)[:, None, None]).max(axis=0) <= 1
    near[[0, -1]] = near[:, [0, -1]] = False
    assert np.array_equal(changed, near)


@each_size
def test_refinement_leaves_its_inputs_as_they_are(size: Size) -> None:
    image, heavy = _random(size)
    image_before, heavy_before = image.copy(), heavy.copy()
    _refine(image, heavy)
    assert np.array_equal(image, image_before)
    assert np.array_equal(heavy, heavy_before)


@each_size
@pytest.mark.parametrize("step", [1, 2, 4])
def test_refined_strips_are_the_whole_image_refined(size: Size, step: int) -> None:
    image, heavy = _random(size)
    starts = range(0, size[0], step)
    strips = [refine_rows(image, heavy, slice(i, min(i + step, size[0]))) for i in starts]
    assert np.array_equal(np.concatenate(strips), _refine(image, heavy))


@each_size
@pytest.mark.parametrize("scale", [1, 2, 2.5, 3.7, 4])
def test_bilinear_is_grid_sample_with_border_padding(size: Size, scale: float) -> None:
    image, _ = _random(size)
    found = _upsample(image, scale)
    hr_size = (found.shape[0], found.shape[1])
    expected = reference.grid_sample(image, hr_size, "bilinear")
    assert np.abs(found - expected).max() <= tolerances.BILINEAR


@each_size
@pytest.mark.parametrize("scale", [1, 2.5, 4])
def test_bilinear_is_that_of_a_loop_over_pixels(size: Size, scale: float) -> None:
    image, _ = _random(size)
    found = _upsample(image, scale)
    expected = reference.bilinear(image, (found.shape[0], found.shape[1]))
    assert np.abs(found - expected).max() <= 10 * tolerances.BILINEAR


@each_size
def test_bilinear_at_scale_one_is_the_image(size: Size) -> None:
    image, _ = _random(size)
    assert np.abs(_upsample(image, 1) - image).max() <= tolerances.BILINEAR


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_bilinear_of_a_constant_is_exact(value: float) -> None:
    image = np.full((5, 7, 3), value, dtype=np.float32)
    assert (_upsample(image, 2.5) == np.float32(value)).all()


@each_size
def test_bilinear_is_added_to_what_is_there(size: Size) -> None:
    image, _ = _random(size)
    grid = Grid.make(size, 2)
    residual = np.random.default_rng(1).random((*grid.hr_size, 3), dtype=np.float32)
    before, image_before = residual.copy(), image.copy()
    add_bilinear(residual, image, grid, slice(0, grid.hr_size[0]))
    assert np.array_equal(residual, before + _upsample(image, 2))
    assert np.array_equal(image, image_before)


@each_size
@pytest.mark.parametrize("step", [1, 3, 8])
def test_bilinear_strips_are_the_whole_image(size: Size, step: int) -> None:
    image, _ = _random(size)
    grid = Grid.make(size, 2.5)
    out = np.zeros((*grid.hr_size, 3), dtype=np.float32)
    for start in range(0, grid.hr_size[0], step):
        add_bilinear(out, image, grid, slice(start, min(start + step, grid.hr_size[0])))
    assert np.array_equal(out, _upsample(image, 2.5))
