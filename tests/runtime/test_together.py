"""Batches whose images share one rule, against PyTorch, which clusters a batch as published."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr import ImageError, Result, Upscaler, UsageError
from pcsr.export.network import NetworkSettings, build_network
from pcsr.export.single_file.file import SingleFileOptions, export_single_file
from pcsr.models.checkpoint import read_checkpoint
from pcsr.runtime.cpu.planning import LEAST_TILE_BYTES
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import route
from pcsr.runtime.together import two_calls
from pcsr.runtime.together.batch import upscale_together
from tests import checkpoints
from tests.exports import Exports
from tests.runtime.routing.calibrations import PRESETS, calibrated

from .compare import assert_images_agree, assert_routed_alike

SIZE, COUNT = (19, 23), 5
ADM, SHARE = RoutingRequest(adaptive=True), RoutingRequest(heavy_ratio=0.3)
WAYS = (RoutingRequest(), RoutingRequest(k=1.5, refine=False), ADM, SHARE)
BACKENDS = ("native", "onnxruntime", "torch")
each_way = pytest.mark.parametrize("request_", WAYS, ids=lambda way: way.label)


def images(dtype: str = "float32", count: int = COUNT) -> NDArray[Any]:
    """Noise of different contrast: clustered alone, each image has a threshold of its own."""
    values = np.random.default_rng(count).random((count, *SIZE, 3))
    values *= np.linspace(0.2, 1, count)[:, None, None, None]
    peak = {"uint8": 255, "uint16": 65535}.get(np.dtype(dtype).name, 1)
    return (values * peak).astype(dtype)


@pytest.fixture(scope="module", params=BACKENDS)
def upscaler(carn_like_bundle: Path, request: pytest.FixtureRequest) -> Upscaler:
    return Upscaler(carn_like_bundle, backend=request.param, threads=2)


def assert_same(found: Result, expected: Result) -> None:
    for name in ("image", "assignment", "difficulty"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    assert found.stats.pixels_per_upsampler == expected.stats.pixels_per_upsampler


def assert_as_pytorch(found: Result, bundle: Path, batch: NDArray[Any], scale: float) -> None:
    """The batch is the network's own with ADM, which clusters it whole."""
    network = build_network(read_checkpoint(bundle.parent / "network.pth"), NetworkSettings())
    expected = network(torch.from_numpy(batch).permute(0, 3, 1, 2), scale, adaptive=True)
    assert found.assignment is not None
    for index, image in enumerate(found.image):
        labels = expected.assignment[index].numpy()
        same = assert_routed_alike(found.assignment[index], labels)
        assert_images_agree(image, expected.image[index].permute(1, 2, 0).numpy(), same)


@pytest.mark.parametrize("scale", [4, 2.5])
def test_all_pixels_are_clustered_together(upscaler: Upscaler, scale: float) -> None:
    found = upscale_together(upscaler, images(), scale, ADM)
    assert_as_pytorch(found, upscaler.bundle.path, images(), scale)
    each = upscaler.run(images(), scale, ADM)
    assert found.stats.pixels_per_upsampler != each.stats.pixels_per_upsampler


@pytest.mark.parametrize("threads", [1, 2])
def test_three_upsamplers(three_way_bundle: Path, threads: int) -> None:
    with Upscaler(three_way_bundle, threads=threads) as upscaler:
        found = upscale_together(upscaler, images(), None, ADM)
    assert_as_pytorch(found, three_way_bundle, images(), 4)
    assert len(found.stats.pixels_per_upsampler) == 3


@pytest.mark.parametrize("request_", [ADM, SHARE], ids=lambda way: way.label)
def test_the_rule_is_that_of_all_logits(carn_like_bundle: Path, request_: RoutingRequest) -> None:
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        found = upscale_together(upscaler, images(), 4, request_)
        cost = upscaler.bundle.manifest.costs.cost_table(4)
    assert found.difficulty is not None
    assert found.assignment is not None
    difficulty = found.difficulty.ravel().astype(np.float64)
    logits = np.log(difficulty / (1 - difficulty)).astype(np.float32)[:, None]
    expected = route(logits, cost, request_).assignment.reshape(found.assignment.shape)
    assert (found.assignment != expected).sum() <= 1  # the logits are reckoned back


@pytest.mark.parametrize("share", [0, 0.125, 0.3, 1])
def test_a_share_is_one_of_all_pixels(upscaler: Upscaler, share: float) -> None:
    found = upscale_together(upscaler, images(), 4, RoutingRequest(heavy_ratio=share))
    assert found.stats.pixels_per_upsampler[0] == round(share * COUNT * 16 * SIZE[0] * SIZE[1])
    if share == 0.3:
        assert found.heavy is not None
        shares = found.heavy.mean(axis=(1, 2))
        assert shares.max() - shares.min() > 0.01, "each image has the same share"


@each_way
def test_one_image_is_a_call(upscaler: Upscaler, request_: RoutingRequest) -> None:
    found = upscale_together(upscaler, images(count=1), 4, request_)
    expected = upscaler.run(images(count=1)[0], 4, request_)
    for name in ("image", "assignment", "difficulty"):
        assert np.array_equal(getattr(found, name)[0], getattr(expected, name)), name
    assert found.stats.pixels_per_upsampler == expected.stats.pixels_per_upsampler
    assert found.stats.threshold == expected.stats.threshold


@pytest.mark.parametrize("request_", WAYS[:3], ids=lambda way: way.label)
def test_the_same_image_twice_is_a_call(carn_like_bundle: Path, request_: RoutingRequest) -> None:
    """Bit for bit, by the two passes over several images: they have the statistics of one."""
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        found = upscale_together(upscaler, images(count=1).repeat(2, axis=0), 4, request_)
        expected = upscaler.run(images(count=1)[0], 4, request_)
    for image in found.image:
        assert np.array_equal(image, expected.image)
    assert found.stats.threshold == expected.stats.threshold


@pytest.mark.parametrize("request_", WAYS[:2], ids=lambda way: way.label)
def test_a_fixed_k_is_a_batch(upscaler: Upscaler, request_: RoutingRequest) -> None:
    assert_same(
        upscale_together(upscaler, images(), 2, request_), upscaler.run(images(), 2, request_)
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_what_is_kept_change_nothing(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        expected = [upscale_together(upscaler, images(), 4, way) for way in (ADM, SHARE)]
    with Upscaler(carn_like_bundle, threads=threads) as upscaler:
        kept = 4 * (upscaler.bundle.manifest.model.feature_width + 16) * SIZE[0] * SIZE[1]
        for name, value in (
            ("together.banded.WORKING_BYTES", 2 * kept + LEAST_TILE_BYTES),  # of two images
            ("together.banded.WORKING_BYTES", 0),
            ("cpu.upscaler.PIXELS_OF_ONE_THREAD", 0),
        ):
            monkeypatch.setattr(f"pcsr.runtime.{name}", value)
            for way, one in zip((ADM, SHARE), expected, strict=True):
                assert_same(upscale_together(upscaler, images(), 4, way), one)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float32"])
def test_dtypes(carn_like_bundle: Path, dtype: str) -> None:
    batch = images(dtype)
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        found = upscale_together(upscaler, batch, 4, ADM)
        floats = upscale_together(upscaler, images(), 4, ADM).image
    assert found.image.dtype == batch.dtype
    peak = np.iinfo(batch.dtype).max if batch.dtype.kind == "u" else 1
    gap = np.abs(found.image / peak - np.clip(floats, *((0, 1) if peak > 1 else (-9, 9))))
    assert gap.mean() < 2 / 255


def test_a_flat_batch_is_all_light(exports: Exports) -> None:
    network = checkpoints.pcsr_network("fsrcnn")
    with torch.no_grad():
        for weights in network.classifier.parameters():
            weights.zero_()
    bundle = exports.of(checkpoints.pcsr_checkpoint(network, "fsrcnn"))
    for backend in BACKENDS:
        with Upscaler(bundle, backend=backend, threads=2) as upscaler:
            found = upscale_together(upscaler, images(), 4, ADM)
        assert found.stats.pixels_per_upsampler == (0, COUNT * 16 * SIZE[0] * SIZE[1])


def test_networks_without_routing(plain_bundle: Path, single_bundle: Path) -> None:
    for bundle in (plain_bundle, single_bundle):
        with Upscaler(bundle, threads=2) as upscaler:
            found = upscale_together(upscaler, images(), None, RoutingRequest())
            assert np.array_equal(found.image, upscaler(images()).image)
            with pytest.raises(UsageError, match="rout"):
                upscale_together(upscaler, images(), None, ADM)


def test_figures(upscaler: Upscaler) -> None:
    stats = upscale_together(upscaler, images(), 4, ADM).stats
    assert (stats.lr_size, stats.hr_size) == (SIZE, (4 * SIZE[0], 4 * SIZE[1]))
    assert sum(stats.pixels_per_upsampler) == COUNT * 16 * SIZE[0] * SIZE[1]
    assert stats.threshold is not None
    assert 0 < stats.threshold < 1
    assert stats.total_ms > 0
    assert {"backbone", "classifier", "routing"} <= stats.stage_ms.keys()


def test_defaults_presets_and_budgets(carn_like_bundle: Path, tmp_path: Path) -> None:
    bundle = calibrated(carn_like_bundle, tmp_path / "bundle")
    with Upscaler(bundle, adaptive=True) as upscaler:
        adm = upscale_together(upscaler, images(), 4, RoutingRequest())
        assert_same(adm, upscale_together(upscaler, images(), 4, ADM))
        fast = upscale_together(upscaler, images(), 4, RoutingRequest(preset="fast"))
        assert_same(fast, upscaler(images(), 4, k=PRESETS["fast"]))
        with pytest.raises(UsageError, match=r"^a budget is for one image, not for a batch"):
            upscale_together(upscaler, images(), 4, RoutingRequest(budget_ms=1000))


def test_what_is_no_batch_of_colours_is_refused(upscaler: Upscaler) -> None:
    wrong: Sequence[Any] = (
        images()[0],
        images()[:0],
        images()[..., :1],
        images().transpose(0, 3, 1, 2),
        images()[:, :0],
        images().astype(np.float64),
        images() * 255,
        "photo.png",
    )
    for batch in wrong:
        with pytest.raises(ImageError, match=r"^(expected|the image holds NaN)"):
            upscale_together(upscaler, batch, 4, ADM)
    nan = images()
    nan[3, 4, 5, 1] = np.nan
    with pytest.raises(ImageError, match="NaN"):
        upscale_together(upscaler, nan, 4, ADM)
    request: Any = {"adaptive": True}
    with pytest.raises(UsageError, match="request must be a RoutingRequest, found a dict"):
        upscale_together(upscaler, images(), 4, request)
    with pytest.raises(UsageError, match="scale"):
        upscale_together(upscaler, images(), 0.5, ADM)


def test_a_closed_upscaler_is_refused(carn_like_bundle: Path) -> None:
    upscaler = Upscaler(carn_like_bundle, threads=1)
    upscaler.close()
    with pytest.raises(UsageError, match="closed"):
        upscale_together(upscaler, images(), 4, ADM)


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_other_backends_share_statistics_of_two_only(three_way_bundle: Path, backend: str) -> None:
    with Upscaler(three_way_bundle, backend=backend, threads=1) as upscaler:
        with pytest.raises(UsageError, match=r"has 3 upsamplers, .*only the native backend shares"):
            upscale_together(upscaler, images(), 4, ADM)
        alone = upscale_together(upscaler, images(count=1), 4, ADM)
        assert np.array_equal(alone.image[0], upscaler(images(count=1)[0], adaptive=True).image)


@pytest.mark.parametrize("request_", [ADM, SHARE], ids=lambda way: way.label)
@pytest.mark.parametrize("spread", [0.1, 5, 30])
def test_a_k_has_the_threshold_of_all_pixels(request_: RoutingRequest, spread: float) -> None:
    """Also where difficulties are 1 in float32, which their logits are not."""
    logits = np.random.default_rng(0).normal(3, spread, 5000).astype(np.float32)[:, None]
    cost = np.array([0.7, 0.3], dtype=np.float32)
    routing = route(logits, cost, request_)
    heavy = logits[:, 0] > two_calls._cut(routing.difficulty, cost, request_)
    if spread == 30 and request_ == SHARE:  # the hardest third is level: none of it is heavy
        assert not heavy[routing.difficulty < 1].any()
    else:
        assert (heavy != (routing.assignment == 0)).sum() <= 1


def test_one_file_routes_each_image_by_itself(carn_like_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "adm.onnx"
    options = SingleFileOptions(adaptive=True)
    export_single_file(carn_like_bundle, file, options)
    with Upscaler(file, threads=1) as upscaler:
        with pytest.raises(UsageError, match="has ADM of each image baked in; pass the bundle's"):
            upscale_together(upscaler, images(), 4, RoutingRequest())
        found = upscale_together(upscaler, images(count=1), 4, RoutingRequest())
        assert np.array_equal(found.image[0], upscaler(images(count=1)[0]).image)


def test_the_compiled_passes_are_loaded_when_they_are_needed() -> None:
    code = (
        "import sys, pcsr.runtime.together.batch, pcsr.calibration.evaluation.patches\n"
        "late = ('native_pipeline', 'cpu.passes', 'torch')\n"
        "print([name for name in sys.modules if name.endswith(late)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
