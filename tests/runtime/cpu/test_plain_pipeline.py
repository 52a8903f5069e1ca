"""Plain networks in tiles, against the whole image: sizes, bounds of memory, rows as they come."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr import ImageError, Upscaler
from pcsr.runtime.cpu import graph_pipeline
from pcsr.runtime.cpu.graph_pipeline import PlainPipeline
from pcsr.runtime.cpu.pipeline import ARENA_GROWTH
from tests import checkpoints, tolerances
from tests.exports import Exports

SIZES = [(97, 131), (1, 1), (16, 200), (131, 17), (33, 32)]
WHOLE = 10**6


@pytest.fixture(scope="module", params=["fsrcnn", "carn", "imdn"])
def plain(request: pytest.FixtureRequest, exports: Exports) -> Path:
    return exports.of(checkpoints.plain_checkpoint(request.param))


def picture(size: tuple[int, int]) -> NDArray[np.float32]:
    return np.random.default_rng(size).random((*size, 3), dtype=np.float32)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_tiles_are_the_whole_image(plain: Path, size: tuple[int, int]) -> None:
    image = picture(size)
    whole = Upscaler(plain, tile_px=WHOLE)(image).image
    for tile_px in (16, 29):
        tiled = Upscaler(plain, tile_px=tile_px)(image).image
        assert np.abs(tiled - whole).max() <= tolerances.IMAGE_FP32


def test_rows_come_as_they_are_finished(plain: Path) -> None:
    image = (picture((97, 53)) * 255).astype(np.uint8)
    upscaler = Upscaler(plain, tile_px=20)
    rows: list[NDArray[Any]] = []
    upscaler.stream(image, rows.append)
    assert len(rows) == 5
    np.testing.assert_array_equal(np.concatenate(rows), upscaler(image).image)


def test_tiles_follow_from_the_memory_that_may_be_used(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscaler = Upscaler(plain)
    whole = upscaler(picture((97, 131)))
    crops: list[int] = []
    run_tile = PlainPipeline.run_tile

    def counted(self: PlainPipeline, tile: Any, *args: Any) -> None:  # noqa: ANN401
        crops.append(np.prod([part.stop - part.start for part in tile.crop]))
        run_tile(self, tile, *args)

    monkeypatch.setattr(PlainPipeline, "run_tile", counted)
    most_px = 80 * 80
    per_px = upscaler.bundle.manifest.model.working_bytes_per_px
    budget = int(most_px * per_px * ARENA_GROWTH)
    monkeypatch.setattr(graph_pipeline, "PLAIN_TILE_BYTES", budget)
    monkeypatch.setattr(graph_pipeline, "MOST_REPEATED", 100)
    tiled = upscaler(picture((97, 131)))
    assert len(crops) > 1
    assert max(crops) <= most_px
    assert np.abs(tiled.image - whole.image).max() <= tolerances.IMAGE_FP32


def test_a_halo_wider_than_tiles_takes_more_memory_instead_of_more_work(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Upscaler(plain).bundle
    model = replace(bundle.manifest.model, receptive_radius_px=350)
    manifest = replace(bundle.manifest, model=model)
    wide = replace(bundle, manifest=manifest)
    pipeline = PlainPipeline(wide, cast(Any, None), cast(Any, None))
    monkeypatch.setattr(graph_pipeline, "PLAIN_TILE_BYTES", 1)
    for free_px, tiles in ((600 * 600, 1), (1, 1)):
        free = int(2 * free_px * model.working_bytes_per_px * ARENA_GROWTH)
        monkeypatch.setattr(graph_pipeline, "available_bytes", lambda free=free: free)
        assert sum(map(len, pipeline.plan((500, 600)).tiles)) == tiles
    found = [tile for tiles in pipeline.plan((3000, 4000)).tiles for tile in tiles]
    cores = [part.stop - part.start for tile in found for part in tile.core]
    assert min(cores) >= 250


def test_nan_in_one_tile_is_refused(plain: Path) -> None:
    image = picture((97, 131))
    image[90, 120] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        Upscaler(plain, tile_px=16)(image)
