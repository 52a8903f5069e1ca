"""Where output pixels lie, on a device, and how many in a row share what they are made from."""

import numpy as np
import pytest
import torch

from pcsr.runtime.geometry.device_grid import DeviceGrid
from pcsr.runtime.geometry.grid import Grid


@pytest.mark.parametrize(
    ("scale", "nearest", "taps"),
    [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 2), (6, 3, 3), (8, 4, 4), (2.5, 1, 1), (1.7, 1, 1)],
)
@pytest.mark.parametrize("height", [5, 8, 33])
def test_runs(scale: float, nearest: int, taps: int, height: int) -> None:
    rows = DeviceGrid.of(Grid.make((height, 6), scale), "cpu").rows
    assert rows.nearest_run == nearest
    assert rows.taps_run in (taps, 1)  # float32 positions between pixels are not exact
    if scale in (2, 4, 8):
        assert rows.taps_run == taps


@pytest.mark.parametrize("scale", [1, 1.7, 2, 2.5, 3, 4, 5, 6, 7, 8, 12])
@pytest.mark.parametrize("height", [1, 2, 3, 7, 270])
def test_pixels_of_a_run_are_alike(scale: float, height: int) -> None:
    grid = Grid.make((height, 4), scale)
    rows = DeviceGrid.of(grid, "cpu").rows
    axis = grid.rows
    for run, arrays in (
        (rows.nearest_run, (axis.nearest,)),
        (rows.taps_run, (axis.lower, axis.upper)),
    ):
        assert len(rows) % run == 0
        for array in arrays:
            assert np.array_equal(array, np.repeat(array[::run], run))


@pytest.mark.parametrize("neighbours", [1, 4])
@pytest.mark.parametrize("scale", [1, 2, 2.5, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 4)])
def test_pixels_are_located_as_on_the_host(
    size: tuple[int, int], scale: float, neighbours: int
) -> None:
    """In a row map that begins with a later row, too."""
    grid = Grid.make(size, scale)
    pixels = np.random.default_rng(0).integers(0, grid.pixels, 50)
    rows, columns = np.divmod(pixels, grid.hr_size[1])
    index, offset = grid.locate(pixels, neighbours)
    for top in (0, 3):
        found = DeviceGrid.of(grid, "cpu").locate(
            torch.from_numpy(rows), torch.from_numpy(columns), size[1], top, neighbours
        )
        np.testing.assert_array_equal(found[0].numpy(), index - top * size[1])
        np.testing.assert_array_equal(found[1].numpy(), offset)
        assert found[0].dtype == torch.int32
