"""The library computes what `Upscaler` does: verification vectors, golden files, every option."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import Bundle
from tests.conftest import REFERENCE
from tests.exports import Exports
from tests.runtime.conftest import CHECKPOINTS
from tests.runtime.test_golden import CASES, Golden
from tests.runtime.test_liif import golden_bundle as published_liif

from .driver import Driver
from .equality import assert_equal, random_image

SIZES = [(1, 1), (1, 9), (7, 1), (23, 31), (64, 50)]
SCALES = [1, 1.37, 2, 2.5, 4, 5.3]
BUNDLES = ["carn_like", "single", "three_way", "liif", "plain"]
ROUTED = ["carn_like", "three_way"]
OPTIONS: list[dict[str, Any]] = [
    {"k": 0},
    {"k": 0.5},
    {"k": 2.5, "refine": False},
    {"k": -1, "refine": True},
    {"k": 1e6},
    {"k": -1e6},
    {"adaptive": True},
    {"adaptive": True, "refine": False},
    {"heavy_ratio": 0},
    {"heavy_ratio": 0.3},
    {"heavy_ratio": 0.3, "refine": False},
    {"heavy_ratio": 1},
]


@pytest.fixture
def bundle(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(f"{request.param}_bundle")
    return found


each_bundle = pytest.mark.parametrize("bundle", BUNDLES, indirect=True)


@each_bundle
def test_verification_vectors(bundle: Path, driver: Driver) -> None:
    for vector in Bundle.load(bundle).vectors():
        options: dict[str, Any] = {"adaptive": True} if vector.adaptive else {}
        assert_equal(driver, bundle, vector.image, scale=vector.scale, **options)


def test_verification_vectors_of_mixed_upsamplers(mixed_bundle: Path, driver: Driver) -> None:
    for vector in Bundle.load(mixed_bundle).vectors():
        options: dict[str, Any] = {"adaptive": True} if vector.adaptive else {}
        assert_equal(driver, mixed_bundle, vector.image, scale=vector.scale, **options)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@each_bundle
def test_sizes_and_scales(bundle: Path, size: tuple[int, int], driver: Driver) -> None:
    image = random_image(size)
    is_plain = Bundle.load(bundle).kind == "plain"
    for scale in [4] if is_plain else SCALES:
        assert_equal(driver, bundle, image, scale=scale)
    assert_equal(driver, bundle, image)


@pytest.mark.parametrize("bundle", ROUTED, indirect=True)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_routing(bundle: Path, options: dict[str, Any], driver: Driver) -> None:
    for dtype in ("uint8", "float32"):
        assert_equal(driver, bundle, random_image((40, 33), dtype=dtype), **options, scale=2.5)


def test_a_flat_image_has_no_spread(carn_like_bundle: Path, driver: Driver) -> None:
    flat = np.full((30, 20, 3), 100, np.uint8)
    for options in ({"adaptive": True}, {"heavy_ratio": 0.5}, {}):
        assert_equal(driver, carn_like_bundle, flat, **options)


@each_bundle
def test_alpha(bundle: Path, driver: Driver) -> None:
    for channels in (2, 4):
        image = random_image((29, 38), channels)
        assert_equal(driver, bundle, image)
        image[..., -1] = 255
        assert_equal(driver, bundle, image)
        image[..., -1] = 0
        assert_equal(driver, bundle, image)


@pytest.mark.parametrize("bundle", ["carn_like"], indirect=True)
def test_gray_of_any_width(bundle: Path, driver: Driver) -> None:
    """NumPy's own product of a matrix and a vector depends on the shape."""
    for width in (1, 2, 7, 40):
        image = random_image((60, width), 1, "float32")
        assert_equal(driver, bundle, image, scale=1)


@pytest.mark.parametrize("tile_px", [16, 33])
@each_bundle
def test_tiles(bundle: Path, tile_px: int, driver: Driver) -> None:
    image = random_image((75, 90), dtype="float32")
    for options in ({}, {"adaptive": True}, {"heavy_ratio": 0.4}):
        if options and Bundle.load(bundle).upsamplers < 2:
            continue
        assert_equal(driver, bundle, image, {"tile_px": tile_px}, **options)


@pytest.mark.parametrize("bundle", ["carn_like", "plain"], indirect=True)
def test_results_do_not_depend_on_memory_threads_or_executor(bundle: Path, driver: Driver) -> None:
    image = random_image((120, 130))
    expected = driver.upscaled(driver.open(bundle), image).image
    for opening in (
        {"threads": 1},
        {"threads": 3},
        {"memory_bytes": 2**20},
        {"memory_bytes": 1},
        {"executor": "threads"},
        {"executor": "backwards"},
    ):
        found = driver.upscaled(driver.open(bundle, **opening), image)
        assert found.status == 0, found.message
        assert np.array_equal(found.image, expected), opening


def test_int8(quantised_bundle: Path, driver: Driver) -> None:
    for options in ({}, {"adaptive": True}, {"scale": 2.5}):
        image = random_image((50, 61))
        assert_equal(driver, quantised_bundle, image, {"precision": "int8"}, **options)


def test_multiples_of_a_size(multiple_bundle: Path, driver: Driver) -> None:
    for size in ((1, 1), (3, 70), (93, 50)):
        for tile_px in (None, 17):
            image = random_image(size, dtype="float32")
            assert_equal(driver, multiple_bundle, image, {"tile_px": tile_px} if tile_px else {})


@pytest.mark.parametrize(
    ("path", "name"), CASES, ids=[f"{path.stem}-{name}" for path, name in CASES]
)
def test_golden_files(
    path: Path, name: str, published_bundles: dict[str, Bundle], driver: Driver
) -> None:
    golden = Golden(path)
    mode, _, refined = name.partition("_")
    options = {"adaptive": True} if mode == "adm" else {"k": float(mode.removeprefix("k"))}
    options["refine"] = refined == "r1"
    bundle = published_bundles[golden.model].path
    assert golden.model in CHECKPOINTS
    assert_equal(driver, bundle, golden.image, scale=golden.scale, **options)


@pytest.mark.parametrize(
    "path", sorted((REFERENCE / "golden").glob("liif_*.npz")), ids=lambda path: path.stem
)
def test_golden_files_of_liif(
    path: Path, reference: Path, exports: Exports, driver: Driver
) -> None:
    with np.load(path) as file:
        image, scale = file["lr_u8"], float(file["scale"])
    assert_equal(driver, published_liif(path, reference, exports), image, scale=scale)
