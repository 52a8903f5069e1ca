"""Output pixels on the input, against grid_sample and exact fractions."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F

from pcsr.runtime.geometry.grid import Axis, Grid, make_axis
from tests import tolerances
from tests.runtime import reference

Size = tuple[int, int]

SIZES = [(1, 1), (1, 7), (2, 2), (4, 4), (37, 53), (60, 80), (101, 255), (3000, 2)]
SCALES = [1, 1.1, 1.5, 2, 2.5, 3, 3.7, 4, 7.3]
CASES = [(size, scale) for size in SIZES for scale in SCALES if size[0] < 3000 or scale <= 4]
each_case = pytest.mark.parametrize(("size", "scale"), CASES)


def _index_image(size: Size) -> NDArray[np.float64]:
    return np.moveaxis(np.indices(size).astype(np.float64), 0, -1)


@each_case
def test_nearest_pixel_is_that_of_grid_sample(size: Size, scale: float) -> None:
    grid = Grid.make(size, scale)
    expected = reference.grid_sample(_index_image(size), grid.hr_size, "nearest")
    assert np.array_equal(grid.rows.nearest, expected[:, 0, 0])
    assert np.array_equal(grid.columns.nearest, expected[0, :, 1])


@each_case
def test_offset_is_coordinate_minus_sampled_coordinate_times_size(size: Size, scale: float) -> None:
    grid = Grid.make(size, scale)
    centres = reference.published_coordinates(size).numpy()
    sampled = reference.grid_sample(centres, grid.hr_size, "nearest")
    expected = reference.published_coordinates(grid.hr_size).numpy() - sampled
    expected *= np.array(size, dtype=np.float32)
    assert np.array_equal(grid.rows.offset, expected[:, 0, 0])
    assert np.array_equal(grid.columns.offset, expected[0, :, 1])


@each_case
def test_cell_is_twice_the_input_size_over_the_output_size(size: Size, scale: float) -> None:
    grid = Grid.make(size, scale)
    expected = [2 * lr / hr for lr, hr in zip(grid.lr_size, grid.hr_size, strict=True)]
    assert grid.cell.dtype == np.float32
    np.testing.assert_allclose(grid.cell, expected, rtol=tolerances.CELL)
    assert [grid.rows.cell, grid.columns.cell] == pytest.approx(grid.cell.tolist())


@each_case
def test_bilinear_taps_are_those_of_grid_sample(size: Size, scale: float) -> None:
    grid = Grid.make(size, scale)
    image = np.random.default_rng(0).random((*size, 1))
    expected = reference.grid_sample(image, grid.hr_size, "bilinear")[..., 0]
    rows = _interpolate(grid.rows, image[..., 0])
    found = _interpolate(grid.columns, rows.T).T
    assert np.abs(found - expected).max() <= tolerances.BILINEAR


def _interpolate(axis: Axis, values: NDArray[np.float64]) -> NDArray[np.float64]:
    weight = axis.weight.astype(np.float64)[:, None]
    mixed: NDArray[np.float64] = (1 - weight) * values[axis.lower] + weight * values[axis.upper]
    return mixed


@each_case
def test_output_size_rounds_ties_to_even(size: Size, scale: float) -> None:
    grid = Grid.make(size, scale)
    assert grid.hr_size == (round(size[0] * scale), round(size[1] * scale))
    assert grid.pixels == grid.hr_size[0] * grid.hr_size[1]


def test_output_size_of_a_half_is_even() -> None:
    assert Grid.make((37, 53), 2.5).hr_size == (92, 132)


def test_scale_one_maps_every_pixel_to_itself() -> None:
    axis = make_axis(301, 301)
    assert np.array_equal(axis.nearest, np.arange(301))
    assert not axis.offset.any()


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_integer_scale_has_as_many_offsets_as_the_scale(scale: int) -> None:
    axis = make_axis(50, 50 * scale)
    phases = np.array([(2 * i + 1) / scale - 1 for i in range(scale)])
    assert np.abs(axis.offset - np.tile(phases, 50)).max() < 1e-5
    assert np.array_equal(axis.nearest, np.repeat(np.arange(50), scale))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(n_in=st.integers(1, 700), scale=st.floats(1, 9))
def test_axis_of_any_size_is_that_of_grid_sample(n_in: int, scale: float) -> None:
    axis = make_axis(n_in, round(n_in * scale))
    n_out = len(axis.nearest)
    expected = reference.grid_sample(_index_image((n_in, 1)), (n_out, 1), "nearest")
    assert np.array_equal(axis.nearest, expected[:, 0, 0])


@settings(derandomize=True, deadline=None, max_examples=100)
@given(n_in=st.integers(1, 500), scale=st.floats(1, 9))
def test_axis_lies_within_rounding_of_the_exact_position(n_in: int, scale: float) -> None:
    n_out = round(n_in * scale)
    axis = make_axis(n_in, n_out)
    slack = Fraction(tolerances.POSITION) * 4 * n_in
    for i in range(n_out):
        exact = reference.position(n_in, n_out, i)
        inside = reference.clamped_position(n_in, n_out, i)
        nearest = int(axis.nearest[i])
        assert abs(nearest - inside) <= Fraction(1, 2) + slack
        tap = int(axis.lower[i]) + Fraction(float(axis.weight[i]))
        assert abs(tap - inside) <= slack
        assert abs(Fraction(float(axis.offset[i])) - 2 * (exact - nearest)) <= 4 * slack


@settings(derandomize=True, deadline=None, max_examples=100)
@given(n_in=st.integers(1, 5000), scale=st.floats(1, 9))
def test_axis_stays_within_its_documented_ranges(n_in: int, scale: float) -> None:
    axis = make_axis(n_in, round(n_in * scale))
    for indices in (axis.nearest, axis.lower, axis.upper):
        assert indices.dtype == np.int32
        assert indices.min() >= 0
        assert indices.max() < n_in
        assert (np.diff(indices) >= 0).all()
    assert axis.offset.dtype == axis.weight.dtype == np.float32
    assert 0 <= axis.weight.min() <= axis.weight.max() <= 1
    assert ((axis.upper == axis.lower + 1) | (axis.lower == n_in - 1)).all()


@pytest.mark.parametrize(("size", "scale"), [((37, 53), 2.5), ((1, 1), 4), ((300, 2), 3.7)])
@pytest.mark.parametrize("step", [1, 7, 8192])
def test_locate_in_chunks_gives_each_pixel_its_nearest_input_pixel(
    size: Size, scale: float, step: int
) -> None:
    grid = Grid.make(size, scale)
    pixels = np.arange(grid.pixels)
    if step == 1:
        pixels = pixels[:: max(1, grid.pixels // 200)]
    for start in range(0, len(pixels), step):
        chunk = pixels[start : start + step]
        index, offset = grid.locate(chunk)
        i, j = chunk // grid.hr_size[1], chunk % grid.hr_size[1]
        assert np.array_equal(index, grid.rows.nearest[i] * size[1] + grid.columns.nearest[j])
        assert np.array_equal(offset, np.stack([grid.rows.offset[i], grid.columns.offset[j]], 1))
        assert index.dtype == np.int32
        assert offset.dtype == np.float32


def test_locate_takes_pixels_in_any_order_and_none() -> None:
    grid = Grid.make((5, 6), 3)
    shuffled = np.random.default_rng(0).permutation(grid.pixels)
    index, offset = grid.locate(shuffled)
    straight, straight_offset = grid.locate(np.arange(grid.pixels))
    assert np.array_equal(index, straight[shuffled])
    assert np.array_equal(offset, straight_offset[shuffled])
    index, offset = grid.locate(np.arange(0))
    assert index.shape == (0,)
    assert offset.shape == (0, 2)


@pytest.mark.parametrize(("size", "scale"), [((256, 300), 1), ((66000, 1), 1), ((2, 40000), 1.5)])
def test_locate_beyond_65504_pixels_counts_on(size: Size, scale: float) -> None:
    grid = Grid.make(size, scale)
    assert grid.pixels > 65504
    index, _ = grid.locate(np.arange(grid.pixels - 5, grid.pixels))
    assert index.max() == size[0] * size[1] - 1


def test_locate_beyond_2_to_the_31_output_pixels_does_not_wrap() -> None:
    grid = Grid.make((12000, 12001), 4)
    assert grid.pixels > 2**31
    index, offset = grid.locate(np.array([grid.pixels - 1]))
    assert index.tolist() == [12000 * 12001 - 1]
    assert offset[0] == pytest.approx([0.75, 0.75], abs=0.01)


@each_case
def test_neighbours_are_those_of_the_liif_code(size: Size, scale: float) -> None:
    """Against `grid_sample` at the shifted coordinates, in PyTorch's float32."""
    grid = Grid.make(size, scale)
    centres = reference.published_coordinates(size).numpy()
    coordinates = reference.published_coordinates(grid.hr_size)
    corners = itertools.product((-1, 1), (-1, 1))
    index, offset = grid.locate(np.arange(grid.pixels), 4)
    for corner, shifts in enumerate(corners):
        at = coordinates.clone()
        for axis, side in enumerate(shifts):
            at[..., axis] += side / size[axis] + 1e-6
        at = at.clamp_(-1 + 1e-6, 1 - 1e-6).flip(-1)[None]
        found = [
            F.grid_sample(
                torch.from_numpy(image).movedim(-1, 0)[None], at, "nearest", align_corners=False
            )[0]
            for image in (_index_image(size).astype(np.float32), centres)
        ]
        rows, columns = found[0].flatten(1).int().numpy()
        assert np.array_equal(index[:, corner], rows * size[1] + columns)
        expected = coordinates - found[1].movedim(0, -1)
        expected *= torch.tensor(size)
        assert np.array_equal(offset[:, corner], expected.reshape(-1, 2))
