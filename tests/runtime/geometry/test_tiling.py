"""Tiles and bands: cores cover the image once, crops hold the halo, budgets are kept."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pcsr import Upscaler, UsageError
from pcsr.runtime.geometry.tiling import (
    LEAST_CORE_PX,
    Bands,
    least_work_bands,
    parse_tile,
    split,
    square_bands,
)
from tests.runtime.compare import assert_images_agree, assert_routed_alike

Size = tuple[int, int]

sizes = st.tuples(st.integers(1, 400), st.integers(1, 400))
halos = st.integers(0, 40)
WORK_SLACK = 1.2  # 1.17 at worst on small images, 1.06 from 400 pixels a side on
quickly = settings(derandomize=True, deadline=None, max_examples=150)


def _assert_exact(bands: Bands, size: Size, halo_px: int, multiple: int = 1) -> None:
    """Bands follow one another, cores cover each pixel once, and crops hold them and their halo;
    padded to the multiple, crops are of one size.
    """
    image = np.arange(size[0] * size[1]).reshape(size)
    covered = np.zeros(size, dtype=int)
    assert [rows.start for rows in bands.rows] == [0, *(rows.stop for rows in bands.rows[:-1])]
    for rows, tiles in zip(bands.rows, bands.tiles, strict=True):
        assert covered[rows].shape == (rows.stop - rows.start, size[1])
        for tile in tiles:
            covered[tile.core] += 1
            assert tile.core[0] == rows
            assert np.array_equal(image[tile.crop][tile.inner], image[tile.core])
            for crop, core, length in zip(tile.crop, tile.core, size, strict=True):
                assert 0 <= crop.start <= max(0, core.start - halo_px)
                assert min(length, core.stop + halo_px) <= crop.stop <= length
    assert (covered == 1).all()
    crops = [tile.crop for tiles in bands.tiles for tile in tiles]
    padded = {tuple(-((a.start - a.stop) // multiple) for a in crop) for crop in crops}
    assert len(padded) == 1


def _crop_pixels(bands: Bands) -> list[int]:
    tiles = [tile for row in bands.tiles for tile in row]
    return [math.prod(part.stop - part.start for part in tile.crop) for tile in tiles]


def _core_sides(bands: Bands) -> list[int]:
    tiles = [tile for row in bands.tiles for tile in row]
    return [part.stop - part.start for tile in tiles for part in tile.core]


@quickly
@given(size=sizes, halo_px=halos, tile_px=st.integers(1, 500))
@example(size=(1, 1), halo_px=3, tile_px=1)
@example(size=(5, 300), halo_px=3, tile_px=7)
def test_square_tiles_cover_every_pixel_once(size: Size, halo_px: int, tile_px: int) -> None:
    if size[0] * size[1] > 2000 * tile_px**2:
        tile_px = 16  # enough tiles
    bands = square_bands(size, halo_px, tile_px)
    _assert_exact(bands, size, halo_px)
    assert max(_core_sides(bands)) <= tile_px
    assert [tile for row in bands.tiles for tile in row] == split(size, halo_px, tile_px)


@quickly
@given(size=sizes, halo_px=halos, crop_pixels=st.integers(0, 200_000))
@example(size=(131, 97), halo_px=19, crop_pixels=0)
def test_least_work_tiles_cover_every_pixel_once(
    size: Size, halo_px: int, crop_pixels: int
) -> None:
    _assert_exact(least_work_bands(size, halo_px, crop_pixels), size, halo_px)


@quickly
@given(size=sizes, halo_px=halos, crop_pixels=st.integers(0, 200_000))
def test_least_work_crops_keep_to_the_budget_where_cores_of_16_pixels_can(
    size: Size, halo_px: int, crop_pixels: int
) -> None:
    bands = least_work_bands(size, halo_px, crop_pixels)
    if crop_pixels >= (LEAST_CORE_PX + 2 * halo_px) ** 2:
        assert max(_crop_pixels(bands)) <= crop_pixels
    else:
        least = math.prod(min(length, LEAST_CORE_PX + 2 * halo_px) for length in size)
        assert max(_crop_pixels(bands)) <= max(crop_pixels, least)


@quickly
@given(size=sizes, halo_px=halos, tile_px=st.integers(16, 200))
def test_least_work_bands_do_no_more_work_than_square_ones_of_the_same_budget(
    size: Size, halo_px: int, tile_px: int
) -> None:
    """But for what its estimate overlooks: crops end at the image's border, parts are rounded."""
    square = _crop_pixels(square_bands(size, halo_px, tile_px))
    budget = (tile_px + 2 * halo_px) ** 2
    assert sum(_crop_pixels(least_work_bands(size, halo_px, budget))) <= WORK_SLACK * sum(square)


@pytest.mark.parametrize("crop_pixels", [131 * 97, 131 * 97 + 1, 10**9])
def test_an_image_within_the_budget_is_one_tile(crop_pixels: int) -> None:
    bands = least_work_bands((131, 97), 19, crop_pixels)
    assert _crop_pixels(bands) == [131 * 97]
    assert bands.rows == (slice(0, 131),)


def test_an_image_just_beyond_the_budget_is_cut_into_whole_rows() -> None:
    bands = least_work_bands((1000, 100), 6, 1000 * 100 - 1)
    assert [len(tiles) for tiles in bands.tiles] == [1, 1]


def test_a_wide_image_is_cut_into_columns_too() -> None:
    bands = least_work_bands((100, 100_000), 19, 100 * 1000)
    assert len(bands.tiles[0]) > 50


def test_bands_of_a_long_image_are_few() -> None:
    """Work grows with each cut: the halo is computed twice."""
    budget = 500 * 1000
    bands = least_work_bands((10_000, 500), 33, budget)
    assert sum(_crop_pixels(bands)) <= 1.1 * 10_000 * 500
    assert max(_crop_pixels(bands)) > 0.8 * budget


@pytest.mark.parametrize("size", [(900, 700), (1, 1)])
def test_a_backbone_that_looks_everywhere_is_not_tiled(size: Size) -> None:
    whole = (slice(0, size[0]), slice(0, size[1]))
    for bands in (square_bands(size, None, 16), least_work_bands(size, None, 100)):
        assert bands.rows == (whole[0],)
        ((tile,),) = bands.tiles
        assert (tile.crop, tile.core, tile.inner) == (whole, whole, whole)
    assert len(split(size, None, 16)) == 1


@pytest.mark.parametrize(("text", "expected"), [("auto", None), ("16", 16), ("512", 512)])
def test_tile_as_written_on_the_command_line(text: str, expected: int | None) -> None:
    assert parse_tile(text) == expected


@pytest.mark.parametrize("text", ["", "15", "0", "-1", "12.5", "big", "Auto", "1e3"])
def test_tiles_that_are_no_size_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="tile must be auto or a number of at least 16"):
        parse_tile(text)


@pytest.mark.parametrize("name", ["carn_like_bundle", "three_way_bundle", "single_bundle"])
@pytest.mark.parametrize("tile_px", [16, 19])
def test_tiles_of_the_graph_pipeline_are_the_whole_image(
    name: str, tile_px: int, request: pytest.FixtureRequest
) -> None:
    """Up to rounding: its products are split by the number of pixels (the native pipeline's are
    not, see test_native_pipeline.py).
    """
    path: Path = request.getfixturevalue(name)
    image = np.random.default_rng(0).random((37, 29, 3), dtype=np.float32)
    ratio = None if name == "single_bundle" else 0.4
    whole, tiled = (
        Upscaler(path, backend="onnxruntime", tile_px=px)(image, 3, heavy_ratio=ratio)
        for px in (None, tile_px)
    )
    assert tiled.assignment is not None
    assert whole.assignment is not None
    same = assert_routed_alike(tiled.assignment, whole.assignment)
    assert_images_agree(tiled.image, whole.image, same, 1e-6)


@quickly
@given(sizes, halos, st.integers(16, 90), st.integers(1, 20))
def test_crops_begin_at_multiples_and_end_at_one_or_with_the_image(
    size: Size, halo_px: int, tile_px: int, multiple: int
) -> None:
    for bands in (
        square_bands(size, halo_px, tile_px, multiple),
        least_work_bands(size, halo_px, 64**2, multiple=multiple),
    ):
        _assert_exact(bands, size, halo_px, multiple)
        for tile in (tile for tiles in bands.tiles for tile in tiles):
            for part, length in zip(tile.crop, size, strict=True):
                assert part.start % multiple == 0
                assert part.stop % multiple == 0 or part.stop == length
