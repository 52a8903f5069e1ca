"""The rows of the input that bands of output rows are made from."""

import numpy as np
import pytest

from pcsr import UsageError
from pcsr.runtime.geometry.grid import Grid
from pcsr.runtime.gpu.bands import make_bands


@pytest.mark.parametrize("neighbours", [1, 4])
@pytest.mark.parametrize("scale", [1, 1.5, 2, 3, 4.7])
@pytest.mark.parametrize("limits", [(40, None), (2**20, 80)])
def test_bands_have_all_rows_that_their_pixels_need(
    limits: tuple[int, int | None], scale: float, neighbours: int
) -> None:
    grid = Grid.make((30, 8), scale)
    bands = make_bands(grid, *limits, neighbours)
    assert len(bands) > 1
    assert np.concatenate([np.arange(grid.hr_size[0])[band.kept] for band in bands]).tolist() == [
        *range(grid.hr_size[0])
    ]
    for band in bands:
        pixels = np.arange(grid.pixels).reshape(grid.hr_size)[band.seen].ravel()
        for count in {1, neighbours}:
            rows = grid.locate(pixels, count)[0] // 8
            assert band.lr_rows.start <= rows.min()
            assert rows.max() < band.lr_rows.stop
        if limits[1] is not None:
            assert (band.lr_rows.stop - band.lr_rows.start) * 8 <= limits[1]


def test_an_input_too_wide_for_the_rows_that_a_band_sees_is_refused() -> None:
    grid = Grid.make((30, 8), 2)
    assert len(make_bands(grid, 2**20, 8 * 6, 4)) > 1
    assert len(make_bands(grid, 2**20, 8 * 4, 1)) > 1
    with pytest.raises(UsageError, match="8 pixels wide and the engine takes 40"):
        make_bands(grid, 2**20, 8 * 5, 4)
