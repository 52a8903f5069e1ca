"""The whole runtime against the same network in eager PyTorch, for every kind of bundle."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr import Result, Upscaler
from pcsr.models import PCSR, PlainNetwork, make_backbone
from pcsr.runtime.routing.rule import heavy_count
from tests import checkpoints, tolerances

from .compare import assert_difficulties_agree, assert_images_agree, assert_routed_alike

Floats = NDArray[np.float32]
Size = tuple[int, int]
Options = dict[str, Any]

SIZES = [(1, 1), (1, 7), (4, 4), (37, 53), (300, 2)]
SCALES = [1, 2, 2.5, 3.7, 4]
MODES: list[Options] = [{"k": k} for k in (-25.0, 0.0, 0.7, 25.0)] + [{"adaptive": True}]
CARN_MEAN = (0.4488, 0.4371, 0.4040)  # published training configuration; others use 0 and 1
BACKENDS = ["native", "onnxruntime", "torch"]
NETWORKS = {"carn_like_bundle": ("carn", 2), "three_way_bundle": ("fsrcnn", 3)}


@dataclass(frozen=True)
class Pair:
    """A bundle and the network that it was exported from."""

    upscaler: Upscaler
    network: PCSR


@pytest.fixture(
    scope="module",
    params=[(name, backend) for name in [*NETWORKS, "single_bundle"] for backend in BACKENDS],
    ids="-".join,
)
def pair(request: pytest.FixtureRequest) -> Pair:
    """M = 2, 3 and 1, on both backends."""
    name, backend = request.param
    bundle: Path = request.getfixturevalue(name)
    backbone, count = NETWORKS.get(name, ("srresnet", 1))
    network = checkpoints.pcsr_network(backbone, count)
    if backbone == "carn":
        network.mean.copy_(torch.tensor(CARN_MEAN).view(1, 3, 1, 1))
    return Pair(Upscaler(bundle, backend=backend), network)


@pytest.fixture(scope="module", params=BACKENDS)
def upscaler(carn_like_bundle: Path, request: pytest.FixtureRequest) -> Upscaler:
    return Upscaler(carn_like_bundle, backend=request.param)


def _image(size: Size) -> Floats:
    return np.random.default_rng(size).random((*size, 3), dtype=np.float32)


def _batch(image: Floats) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def _assert_equals_pytorch(
    pair: Pair,
    image: Floats,
    scale: float,
    options: Options,
    tolerance: float = tolerances.IMAGE_FP32,
) -> None:
    for refine in (False, True):
        found = pair.upscaler(image, scale, refine=refine, **options)
        expected = pair.network(_batch(image), scale, refine=refine, **options)
        assert found.assignment is not None
        assert found.difficulty is not None
        same = assert_routed_alike(found.assignment, expected.assignment[0].numpy())
        image_expected = expected.image[0].permute(1, 2, 0).numpy()
        assert_images_agree(found.image, image_expected, same, tolerance)
        assert_difficulties_agree(found.difficulty, expected.difficulty[0].numpy())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", SIZES)
def test_image_and_routing_are_those_of_pytorch(pair: Pair, size: Size, scale: float) -> None:
    modes = MODES if pair.upscaler.bundle.upsamplers > 1 else [{}]
    for options in modes:
        _assert_equals_pytorch(pair, _image(size), scale, options)


@pytest.mark.parametrize("size", [(3000, 2), (2, 3000)])
def test_a_long_thin_image_is_that_of_pytorch(pair: Pair, size: Size) -> None:
    tolerance = tolerances.IMAGE_FP32
    _assert_equals_pytorch(pair, _image(size), 4, {"k": 0.0}, tolerance)


def test_an_image_of_more_than_65504_pixels_is_that_of_pytorch(pair: Pair) -> None:
    _assert_equals_pytorch(pair, _image((256, 260)), 1, {"k": 0.0})


def test_the_test_networks_use_every_upsampler(pair: Pair) -> None:
    pixels = pair.upscaler(_image((37, 53))).stats.pixels_per_upsampler
    assert len(pixels) == pair.upscaler.bundle.upsamplers
    assert min(pixels) > 10


@pytest.mark.parametrize("size", SIZES)
def test_a_plain_network_is_that_of_pytorch(plain_bundle: Path, size: Size) -> None:
    model = checkpoints.plain_checkpoint("fsrcnn")["model"]
    network = make_backbone(model["name"], model["args"]).eval()
    network.load_state_dict(model["sd"])
    image = _image(size)
    with torch.no_grad():
        expected = PlainNetwork(network, 4, (0.0,) * 3, (1.0,) * 3)(_batch(image))
    found = Upscaler(plain_bundle)(image)
    everywhere = np.ones(found.image.shape[:2], dtype=bool)
    assert_images_agree(found.image, expected[0].permute(1, 2, 0).numpy(), everywhere)


def test_a_plain_network_has_no_routing(plain_bundle: Path) -> None:
    result = Upscaler(plain_bundle)(_image((5, 7)))
    assert result.assignment is None
    assert result.difficulty is None
    assert result.heavy is None
    assert result.stats.pixels_per_upsampler == ()
    assert result.stats.threshold is None
    assert result.stats.heavy_share == 0


def test_without_a_scale_the_trained_one_is_used(pair: Pair) -> None:
    image = _image((4, 5))
    assert np.array_equal(pair.upscaler(image).image, pair.upscaler(image, 4.0).image)


def test_a_network_with_one_upsampler_makes_every_pixel_heavy(single_bundle: Path) -> None:
    result = Upscaler(single_bundle)(_image((5, 7)), 2.5)
    assert result.heavy is not None
    assert result.heavy.all()
    assert result.stats.heavy_share == 1


@pytest.mark.parametrize(
    "pair",
    [(name, backend) for name in NETWORKS for backend in BACKENDS],
    indirect=True,
    ids="-".join,
)
@pytest.mark.parametrize("ratio", [0, 0.2, 0.5, 1])
def test_heavy_ratio_sets_the_share_of_heavy_pixels(pair: Pair, ratio: float) -> None:
    result = pair.upscaler(_image((37, 53)), 2.5, heavy_ratio=ratio)
    assert result.heavy is not None
    pixels = result.heavy.size
    assert result.heavy.sum() == pytest.approx(round(ratio * pixels), abs=tolerances.LEVEL_PX)


@pytest.mark.parametrize("options", [*MODES, {"heavy_ratio": 0.3}])
def test_the_result_describes_itself(pair: Pair, options: Options) -> None:
    if pair.upscaler.bundle.upsamplers == 1:
        options = {}
    image = _image((37, 53))
    result = pair.upscaler(image, 3.7, **options)
    count = pair.upscaler.bundle.upsamplers
    size = (round(37 * 3.7), round(53 * 3.7))
    assert result.image.shape == (*size, 3)
    assert result.stats.lr_size == (37, 53)
    assert result.stats.hr_size == size
    assert result.assignment is not None
    assert result.assignment.shape == size
    assert result.assignment.dtype == np.uint8
    assert result.difficulty is not None
    assert result.difficulty.shape == size
    assert result.difficulty.dtype == np.float32
    assert 0 <= result.difficulty.min() <= result.difficulty.max() <= 1
    assert result.heavy is not None
    assert np.array_equal(result.heavy, result.assignment < heavy_count(count))
    assert result.stats.heavy_share == pytest.approx(float(result.heavy.mean()))


@pytest.mark.parametrize("options", [*MODES, {"heavy_ratio": 0.3}, {"refine": False}])
def test_statistics_add_up(pair: Pair, options: Options) -> None:
    if pair.upscaler.bundle.upsamplers == 1:
        options = {}
    result = pair.upscaler(_image((37, 53)), 2.5, **options)
    stats = result.stats
    assert result.assignment is not None
    counted = np.bincount(result.assignment.ravel(), minlength=pair.upscaler.bundle.upsamplers)
    assert stats.pixels_per_upsampler == tuple(counted)
    assert sum(stats.pixels_per_upsampler) == stats.hr_size[0] * stats.hr_size[1]
    assert all(time >= 0 for time in stats.stage_ms.values())
    assert sum(stats.stage_ms.values()) <= stats.total_ms


def test_every_stage_is_timed_in_order(upscaler: Upscaler) -> None:
    stages = list(upscaler(_image((5, 7))).stats.stage_ms)
    first, heavy, light = ["prepare", "backbone"], "upsampler_0", "upsampler_1"
    routed = ["classifier", "routing"]
    expected = {
        "native": [*first, *routed, "compose", heavy, light, "refinement"],
        "onnxruntime": [*first, *routed, heavy, light, "compose", "refinement"],
        "torch": [
            *("prepare", "upload", "backbone", "compose", light, *routed, heavy, "refinement"),
            *("copy", "download"),
        ],
    }
    assert stages == expected[upscaler.backend]


def test_nearly_all_of_the_time_belongs_to_a_stage(upscaler: Upscaler) -> None:
    stats = upscaler(_image((64, 64))).stats
    assert sum(stats.stage_ms.values()) >= 0.5 * stats.total_ms


@pytest.mark.parametrize("options", [*MODES, {"heavy_ratio": 0.3}, {"refine": False}])
@pytest.mark.parametrize("name", [*NETWORKS, "single_bundle", "plain_bundle"])
def test_all_backends_agree(name: str, options: Options, request: pytest.FixtureRequest) -> None:
    bundle: Path = request.getfixturevalue(name)
    image = _image((37, 53))
    if name not in NETWORKS:
        options = {}
    native, *others = (Upscaler(bundle, backend=backend)(image, **options) for backend in BACKENDS)
    for other in others:
        if native.assignment is None or other.assignment is None:
            np.testing.assert_allclose(other.image, native.image, atol=tolerances.IMAGE_FP32)
            continue
        same = assert_routed_alike(native.assignment, other.assignment)
        assert_images_agree(native.image, other.image, same)


def test_auto_is_native_on_the_cpu(carn_like_bundle: Path) -> None:
    assert Upscaler(carn_like_bundle).backend == "native"


def test_a_flat_image_at_scale_one_is_all_light_when_adaptive(upscaler: Upscaler) -> None:
    """Far from the border every pixel of a flat image has the same difficulty."""
    result = upscaler(np.full((1, 1, 3), 0.5, np.float32), 1, adaptive=True)
    assert result.heavy is not None
    assert not result.heavy.any()
    assert np.isfinite(result.image).all()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_does_not_change_the_routing(pair: Pair, threads: int) -> None:
    other = Upscaler(pair.upscaler.bundle.path, backend=pair.upscaler.backend, threads=threads)
    image = _image((37, 53))
    expected, found = pair.upscaler(image), other(image)
    assert expected.assignment is not None
    assert found.assignment is not None
    same = assert_routed_alike(found.assignment, expected.assignment)
    assert_images_agree(found.image, expected.image, same)


def test_eight_threads_at_once_get_what_one_gets(pair: Pair) -> None:
    calls = [((7 + 5 * i, 50 - 6 * i), SCALES[i % len(SCALES)]) for i in range(8)] * 3
    serial = [pair.upscaler(_image(size), scale) for size, scale in calls]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda call: pair.upscaler(_image(call[0]), call[1]), calls))
    for found, expected in zip(parallel, serial, strict=True):
        _assert_same_result(found, expected)


def test_the_same_call_twice_gives_the_same_result(pair: Pair) -> None:
    image = _image((37, 53))
    _assert_same_result(pair.upscaler(image, 2.5), pair.upscaler(image, 2.5))


def _assert_same_result(found: Result, expected: Result) -> None:
    assert np.array_equal(found.image, expected.image)
    assert found.assignment is not None
    assert expected.assignment is not None
    assert np.array_equal(found.assignment, expected.assignment)
    assert found.stats.pixels_per_upsampler == expected.stats.pixels_per_upsampler
