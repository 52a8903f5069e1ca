"""Tiles of the backbone give the whole image's features."""

from pathlib import Path

import numpy as np
import pytest

from pcsr import Bundle
from pcsr.runtime.tiling import split


@pytest.mark.parametrize("size", [(1, 1), (5, 700), (37, 53), (64, 64)])
@pytest.mark.parametrize("tile_px", [1, 7, 16, 64])
def test_cores_cover_every_pixel_once(size: tuple[int, int], tile_px: int) -> None:
    covered = np.zeros(size, dtype=int)
    for tile in split(size, halo_px=3, tile_px=tile_px):
        covered[tile.core] += 1
        assert max(covered[tile.core].shape) <= tile_px
    assert (covered == 1).all()


def test_crops_hold_the_core_and_its_halo_inside_the_image() -> None:
    image = np.arange(37 * 53).reshape(37, 53)
    for tile in split(image.shape, halo_px=4, tile_px=16):
        assert np.array_equal(image[tile.crop][tile.inner], image[tile.core])
        for crop, core, length in zip(tile.crop, tile.core, image.shape, strict=True):
            assert crop.start == max(0, core.start - 4)
            assert crop.stop == min(length, core.stop + 4)


def test_a_backbone_that_looks_everywhere_is_not_tiled() -> None:
    assert len(split((900, 700), halo_px=None, tile_px=16)) == 1


@pytest.mark.parametrize("name", ["carn_like_bundle", "three_way_bundle", "single_bundle"])
@pytest.mark.parametrize("tile_px", [5, 16])
def test_tiles_equal_the_whole_image(
    name: str, tile_px: int, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(name)
    bundle = Bundle.load(path)
    backend = make_backend("onnxruntime", bundle, "cpu", "fp32", threads=2)
    image = np.random.default_rng(0).random((1, 3, 37, 29), dtype=np.float32)

    def run(tile: int) -> np.ndarray:
        pipeline = RoutedPipeline(bundle, backend, Workers(2), tile)
        return pipeline.run(image, 3, Mode(heavy_ratio=0.4), True, Stopwatch())[0]

    np.testing.assert_allclose(run(tile_px), run(512), atol=1e-6)
