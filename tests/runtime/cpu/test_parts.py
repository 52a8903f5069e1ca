"""Parts of an image, each from its own rows alone, are the whole image, bit for bit."""

import functools
import operator
import pickle
from pathlib import Path
from typing import Any, TypeVar, Unpack

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pcsr import BackendError, ImageError, Upscaler, UsageError
from pcsr.runtime.parts import CutImage, UpscaledPart
from pcsr.runtime.result import Result, Stats
from pcsr.runtime.routing.merging import Counted, Counts, merged_rule
from pcsr.runtime.routing.ranking import RankCounts, logit_of
from pcsr.runtime.routing.request import RoutingOptions, RoutingRequest
from pcsr.runtime.routing.rule import ratio_threshold
from tests import checkpoints
from tests.exports import Exports

MODES: list[dict[str, Any]] = [
    {},
    {"k": 0.5},
    {"k": -3.0, "refine": False},
    {"adaptive": True},
    {"adaptive": True, "refine": False},
    {"heavy_ratio": 0.3},
    {"heavy_ratio": 0.0},
    {"heavy_ratio": 1.0},
]
Sent = TypeVar("Sent")
PEAK = {"uint8": 255, "uint16": 65535, "float32": 1}
sizes = st.tuples(st.integers(16, 150), st.integers(1, 60))
scales = st.sampled_from([1, 1.01, 2, 2.5, 3.7, 4])
quickly = settings(
    derandomize=True,
    deadline=None,
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def picture(size: tuple[int, int], channels: int | None = 3, dtype: str = "uint8") -> NDArray[Any]:
    """Noise, darker on the left, so that ADM has something to split."""
    shape = size if channels is None else (*size, channels)
    image = np.random.default_rng(size).random(shape) * PEAK[dtype]
    image[:, : size[1] // 2] *= 0.1
    return image.astype(dtype)


def in_parts(
    upscaler: Upscaler,
    image: NDArray[Any],
    scale: float | None,
    count: int,
    **options: Unpack[RoutingOptions],
) -> tuple[NDArray[Any], Stats, CutImage, list[Counted]]:
    """What the parts make, after all that travels went through pickle; the rows that a part does
    not read do not exist for it.
    """
    passes = []

    def sent(value: Sent) -> Sent:
        received: Sent = pickle.loads(pickle.dumps(value))
        return received

    with upscaler.parts() as parts:
        cut = sent(parts.cut(image, scale, RoutingRequest.of(options), count))
        read = [sent(image[part.seen]) for part in cut.parts]

        def run(counted: Counted) -> Counts:
            passes.append(counted)
            wanted = sent(counted)
            found = [sent(parts.count(cut, i, rows, wanted)) for i, rows in enumerate(read)]
            return functools.reduce(operator.add, found)

        rule = sent(cut.rule(run))
        made: list[UpscaledPart] = [parts.upscale(cut, i, r, rule) for i, r in enumerate(read)]
    return np.concatenate([part.pixels for part in made]), cut.stats(made, 1.0), cut, passes


def assert_same(found: NDArray[Any], stats: Stats, whole: Result) -> None:
    assert found.dtype == whole.image.dtype
    expected = whole.image.reshape(found.shape)
    assert np.array_equal(found, expected), f"{(found != expected).mean():.2%} of the values differ"
    assert stats.pixels_per_upsampler == whole.stats.pixels_per_upsampler
    assert stats.threshold == whole.stats.threshold
    assert (stats.lr_size, stats.hr_size) == (whole.stats.lr_size, whole.stats.hr_size)


@pytest.fixture(
    scope="module",
    params=["carn_like_bundle", "three_way_bundle", "single_bundle", "liif_bundle", "mixed"],
)
def upscaler(request: pytest.FixtureRequest, exports: Exports) -> Upscaler:
    """M = 1 to 3, also with four neighbours and without a base."""
    if request.param == "mixed":
        return Upscaler(exports.of(checkpoints.mixed(3)), threads=2)
    return Upscaler(request.getfixturevalue(request.param), threads=2)


@quickly
@given(size=sizes, scale=scales, count=st.integers(1, 9), mode=st.sampled_from(MODES))
@example(size=(150, 40), scale=2.5, count=4, mode={"adaptive": True})
@example(size=(150, 40), scale=2.5, count=4, mode={"heavy_ratio": 0.3})
def test_parts_are_the_whole_image(
    upscaler: Upscaler, size: tuple[int, int], scale: float, count: int, mode: dict[str, Any]
) -> None:
    mode = mode if upscaler.bundle.upsamplers > 1 else {}
    image = picture(size)
    found, stats, cut, _ = in_parts(upscaler, image, scale, count, **mode)
    assert_same(found, stats, upscaler(image, scale, **mode))
    assert 1 <= len(cut.parts) <= count
    assert cut.parts[0].rows.start == 0
    assert cut.parts[-1].rows.stop == size[0]


@pytest.mark.parametrize("tile_px", [16, 23])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_parts_in_tiles_are_the_whole_image(
    three_way_bundle: Path, mode: dict[str, Any], tile_px: int
) -> None:
    """Several bands in a part; the last band of some has nothing but the row beside the part."""
    image = picture((113, 45))
    whole = Upscaler(three_way_bundle, threads=2)(image, 2.5, **mode)
    tiled = Upscaler(three_way_bundle, threads=2, tile_px=tile_px)
    for count in (2, 3):
        found, stats, cut, _ = in_parts(tiled, image, 2.5, count, **mode)
        assert len(cut.parts) == count
        assert_same(found, stats, whole)


@pytest.mark.usefixtures("tiny_tiles")
def test_parts_in_bands_of_one_row(three_way_bundle: Path) -> None:
    image = picture((40, 12))
    whole = Upscaler(three_way_bundle, threads=1)(image, 3, adaptive=True)
    tiled = Upscaler(three_way_bundle, threads=1, tile_px=1)
    found, stats, *_ = in_parts(tiled, image, 3, 2, adaptive=True)
    assert_same(found, stats, whole)


@pytest.mark.parametrize("dtype", PEAK)
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_parts_of_gray_and_deep_images(
    three_way_bundle: Path, channels: int | None, dtype: str
) -> None:
    upscaler = Upscaler(three_way_bundle, threads=2)
    image = picture((70, 31), channels, dtype)
    found, stats, cut, _ = in_parts(upscaler, image, None, 3, adaptive=True)
    assert len(cut.parts) == 3
    assert_same(found, stats, upscaler(image, adaptive=True))


@pytest.mark.parametrize("backbone", ["fsrcnn", "carn", "imdn"])
@pytest.mark.parametrize("tile_px", [None, 29])
def test_parts_of_a_plain_network(exports: Exports, backbone: str, tile_px: int | None) -> None:
    bundle = exports.of(checkpoints.plain_checkpoint(backbone))
    upscaler = Upscaler(bundle, threads=2, tile_px=tile_px)
    image = picture((131, 57), 3, "float32")
    found, stats, cut, passes = in_parts(upscaler, image, None, 3)
    assert len(cut.parts) == 3
    assert not passes
    assert_same(found, stats, Upscaler(bundle, threads=2)(image))


def test_passes_that_each_way_of_routing_needs(carn_like_bundle: Path) -> None:
    upscaler, image = Upscaler(carn_like_bundle, threads=2), picture((90, 40))

    def passes(image: NDArray[Any] = image, **options: Unpack[RoutingOptions]) -> int:
        return len(in_parts(upscaler, image, 2, 2, **options)[3])

    assert passes() == passes(k=1.0) == passes(heavy_ratio=1.0) == 0
    assert passes(adaptive=True) == 1
    assert passes(heavy_ratio=0.25) == 2
    even = np.full_like(image, 100)
    even[40:50, 10:20] = 101  # difficulties within less than half of [0, 1]
    assert passes(even, adaptive=True) == 2


def test_a_coarse_histogram_is_refined_over_the_parts(carn_like_bundle: Path) -> None:
    upscaler, image = Upscaler(carn_like_bundle, threads=2), picture((90, 40)) // 64 + 100
    found, stats, _, passes = in_parts(upscaler, image, 2, 2, adaptive=True)
    assert [(each.first, each.last) == (0, 1) for each in passes] == [True, False]
    assert_same(found, stats, upscaler(image, 2, adaptive=True))


def test_a_part_reads_little_more_than_its_rows(carn_like_bundle: Path) -> None:
    upscaler = Upscaler(carn_like_bundle)
    radius = upscaler.bundle.manifest.model.receptive_radius_px
    assert radius
    with upscaler.parts() as parts:
        cut = parts.cut(picture((1000, 1)), 2, count=5)
    for part in cut.parts:
        assert part.rows.stop - part.rows.start == 200
        assert part.made == slice(2 * part.rows.start, 2 * part.rows.stop)
        assert part.rows.start - part.seen.start == (part.rows.start and radius + 1)
        assert part.seen.stop - part.rows.stop == (part.rows.stop < 1000) * (radius + 1)


@quickly
@given(st.integers(1, 500), st.floats(0, 1), st.integers(1, 4))
def test_ranks_of_parts_are_those_of_a_partition(pixels: int, ratio: float, parts: int) -> None:
    rng = np.random.default_rng(pixels)
    logit = (rng.normal(size=pixels) * 10.0 ** rng.integers(-30, 30)).astype(np.float32)
    logit[rng.random(pixels) < 0.3] = 0.0
    logit[rng.random(pixels) < 0.2] = -0.0

    def run(counted: Counted) -> Counts:
        found = []
        for part in np.array_split(logit, parts):
            counts = RankCounts(counted.upper)
            counts.add(part)
            found.append(counts)
        return functools.reduce(operator.add, found)

    cost = np.array([0.8, 0.2], dtype=np.float32)
    rule = merged_rule(cost, RoutingRequest(heavy_ratio=ratio), pixels, run)
    assert rule.cut == ratio_threshold(logit, ratio)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 3e38, -3e38, 1e-45, -1e-45])
def test_halves_of_a_key_give_its_logit(value: float) -> None:
    counts = RankCounts()
    counts.add(np.array([value], dtype=np.float32))
    upper, rank = counts.place(0)
    assert rank == 0
    lower = RankCounts(upper)
    lower.add(np.array([value], dtype=np.float32))
    assert logit_of(upper, lower.place(0)[0]) == np.float32(value)


def test_images_that_are_computed_whole_only_are_refused(carn_like_bundle: Path) -> None:
    with Upscaler(carn_like_bundle).parts() as parts:
        with pytest.raises(ImageError, match="with alpha cannot be computed in parts"):
            parts.cut(picture((90, 40), 4))
        cut = parts.cut(picture((90, 40)), 2)
        rows = picture((90, 40))[cut.parts[0].seen]
        for wrong in (rows[1:], rows[:, 1:], rows[..., 0], rows.astype(np.uint16)):
            with pytest.raises(ImageError, match="expected rows 0 to 64 of the image"):
                parts.count(cut, 0, wrong, Counted(logits=False))
        with pytest.raises(UsageError, match="2147483647 that one call takes"):
            parts.cut(picture((90, 40)), 900)


def test_executors_that_need_the_whole_image_are_refused(carn_like_bundle: Path) -> None:
    for backend, message in (
        ("onnxruntime", "holds a PCSR image whole"),
        ("torch", "only the nat"),
    ):
        upscaler = Upscaler(carn_like_bundle, backend=backend)
        with pytest.raises(BackendError, match=message), upscaler.parts():
            pass


def test_values_that_a_call_refuses_are_refused_in_a_part(carn_like_bundle: Path) -> None:
    image = picture((90, 40), 3, "float32")
    image[80] = np.nan
    upscaler = Upscaler(carn_like_bundle)
    with pytest.raises(ImageError, match="the image holds NaN"):
        in_parts(upscaler, image, 2, 2)
