"""Whole images, images cut to what patches cover, and patches: what is compared with what."""

import json
from pathlib import Path

import numpy as np
import pytest

from pcsr.bundle import Bundle
from pcsr.calibration.evaluation.evaluation import evaluate
from pcsr.calibration.evaluation.options import EvaluationOptions
from pcsr.calibration.evaluation.patches import Patches, upscale_patches
from pcsr.calibration.evaluation.report import Score
from pcsr.images import read
from pcsr.metrics import bicubic_resize, degrade, psnr
from pcsr.runtime.layout import RGB8
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.upscaler import Upscaler
from tests.exports import Exports

from .pictures import Array, run, save, smooth

GOLDEN = {"carn": "carn_astronaut", "fsrcnn": "fsrcnn_coffee"}
MODES = {"k0": "k=0", "k1": "k=1", "adm": "adaptive", "heavy": "k=-25"}
PSNR_DB, GFLOPS = 2e-5, 1e-9
"""Pixels on the edge between two levels round differently (the float sums have another order); the
work is counted in whole pixels."""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """LR: 38 x 45; patches of 16 every 12 cover 28 x 40, of 8 every 4 cover 36 x 44."""
    return save(smooth(153, 181), tmp_path / "hr" / "large.png")


def by_protocol(scores: tuple[Score, ...], method: str) -> dict[str, Score]:
    return {score.protocol: score for score in scores if score.method == method}


def pair(path: Path, height: int, width: int) -> tuple[Array, Array]:
    """The HR and the LR image, cut to an LR size from the upper left corner."""
    hr, lr = degrade(read(path, 10**6).pixels, 4)
    return hr[: 4 * height, : 4 * width], lr[:height, :width]


def test_each_method_is_scored_under_each_protocol(
    carn_like_bundle: Path, plain_bundle: Path, large: Path
) -> None:
    options = EvaluationOptions(patches=(16, 8, 16), adaptive=True, plain=(plain_bundle,))
    report = evaluate(carn_like_bundle, [large], options)
    protocols = ["image", "patches 16/12", "patches 8/4"]
    assert report.protocols == protocols
    for scores in (report.scores, report.means):
        assert [(score.method, score.protocol) for score in scores] == [
            (method, protocol)
            for method in ("bicubic", "plain", "k=0", "adaptive")
            for protocol in protocols
        ]


def test_patches_are_scored_on_what_they_cover(carn_like_bundle: Path, large: Path) -> None:
    options = EvaluationOptions(patches=(16,), k=(0.5,), refine=False)
    scores = evaluate(carn_like_bundle, [large], options).scores
    hr, lr = pair(large, 28, 40)
    request, patches = RoutingRequest(k=0.5, refine=False), Patches(16, 12)
    made = upscale_patches(Upscaler(carn_like_bundle), lr, 4, request, patches)
    found = by_protocol(scores, "k=0.5")["patches 16/12"]
    assert found.psnr_rgb_db == psnr(RGB8.from_network(made.image), hr, 4)
    assert found.paper_gflops == made.paper_flops / 1e9
    assert found.gmacs == made.macs / 1e9
    heavy, light = made.pixels_per_upsampler
    assert found.heavy_percent == pytest.approx(100 * heavy / (heavy + light))
    bicubic = by_protocol(scores, "bicubic")["patches 16/12"]
    assert bicubic.psnr_rgb_db == psnr(bicubic_resize(lr, *hr.shape[:2]), hr, 4)


def test_work_is_that_of_all_patches(carn_like_bundle: Path, large: Path) -> None:
    options = EvaluationOptions(patches=(16,), heavy_ratio=(1.0,), k=(0,))
    scores = evaluate(carn_like_bundle, [large], options).scores
    costs = Bundle.load(carn_like_bundle).manifest.costs
    one = costs.paper_flops((16, 16), (64, 64), (64 * 64, 0)) / 1e9
    found = by_protocol(scores, "heavy=1")["patches 16/12"].paper_gflops
    assert found == pytest.approx(2 * 3 * one, rel=1e-12)


def test_a_plain_network_sees_patches_too(plain_bundle: Path, large: Path) -> None:
    scores = evaluate(plain_bundle, [large], EvaluationOptions(patches=(16,))).scores
    found = by_protocol(scores, "plain")
    assert found["patches 16/12"].heavy_percent is None
    assert found["patches 16/12"].psnr_rgb_db != found["image"].psnr_rgb_db


def test_cropped_images_are_whole_on_the_same_part(carn_like_bundle: Path, large: Path) -> None:
    options = EvaluationOptions(patches=(16,), crop=True)
    report = evaluate(carn_like_bundle, [large], options)
    assert report.protocols == ["cropped 16/12", "patches 16/12"]
    hr, lr = pair(large, 28, 40)
    result = Upscaler(carn_like_bundle)(np.ascontiguousarray(lr), scale=4)
    found = by_protocol(report.scores, "k=0")["cropped 16/12"]
    assert found.psnr_rgb_db == psnr(result.image, hr, 4)


def test_images_are_cut_for_the_published_patches_where_none_are_named(
    carn_like_bundle: Path, large: Path
) -> None:
    alone = evaluate(carn_like_bundle, [large], EvaluationOptions(crop=True))
    assert alone.protocols == ["cropped 32/28"]
    hr, lr = pair(large, 32, 32)
    bicubic = by_protocol(alone.scores, "bicubic")["cropped 32/28"]
    assert bicubic.psnr_rgb_db == psnr(bicubic_resize(lr, *hr.shape[:2]), hr, 4)


def test_one_step_counts_for_all_sizes(carn_like_bundle: Path, large: Path) -> None:
    options = EvaluationOptions(patches=(16, 32), step=10)
    report = evaluate(carn_like_bundle, [large], options)
    assert report.protocols == ["image", "patches 16/10", "patches 32/10"]


def test_a_batch_shares_its_statistics(carn_like_bundle: Path, large: Path) -> None:
    found = [
        by_protocol(
            evaluate(
                carn_like_bundle,
                [large],
                EvaluationOptions(patches=(16,), heavy_ratio=(0.3,), patch_batch=batch),
            ).scores,
            "heavy=0.3",
        )["patches 16/12"]
        for batch in (1, 6)
    ]
    assert found[0].psnr_rgb_db != found[1].psnr_rgb_db


def test_an_image_smaller_than_a_patch_fails_alone(carn_like_bundle: Path, large: Path) -> None:
    small = save(smooth(40, 60), large.with_name("small.png"))
    result = run(carn_like_bundle, small, large, "--patches", "16", "--json", "-")
    assert result.exit_code == 1
    assert "small.png" in result.stderr
    assert "15x10 pixels is smaller than a patch of 16x16" in result.stderr
    assert [line[:5] for line in result.stderr.splitlines()] == ["note:", "error"]
    assert "large.png" in result.stdout


def test_the_protocol_is_a_column_where_there_are_several(
    carn_like_bundle: Path, large: Path
) -> None:
    assert "protocol" not in run(carn_like_bundle, large).stdout
    table = run(carn_like_bundle, large, "--patches", "16").stdout
    assert table.splitlines()[0].split()[:3] == ["image", "method", "protocol"]
    assert "network" not in table
    (row,) = (
        line
        for line in table.splitlines()
        if line.startswith("mean") and "k=0 " in line and "16/12" in line
    )
    assert row.split()[:4] == ["mean", "k=0", "patches", "16/12"]


@pytest.mark.parametrize("model", GOLDEN)
def test_published_figures(model: str, reference: Path, exports: Exports, tmp_path: Path) -> None:
    bundle = exports.of_file(reference / "checkpoints" / f"{model}-pcsr.pth")
    arrays = np.load(reference / "golden" / f"patches_{GOLDEN[model]}.npz")
    hr = save(arrays["hr_u8"], tmp_path / "hr" / "a.png")
    lr = save(arrays["lr_u8"], tmp_path / "lr" / "a.png").parent
    options = EvaluationOptions(k=(0, 1, -25), adaptive=True, patches=(32,), lr=lr)
    scores = evaluate(bundle, [hr], options).scores
    for golden, method in MODES.items():
        found = by_protocol(scores, method)["patches 32/28"]
        assert found.psnr_rgb_db == pytest.approx(float(arrays[f"psnr_{golden}"]), abs=PSNR_DB)
        assert found.paper_gflops == pytest.approx(float(arrays[f"gflops_{golden}"]), rel=GFLOPS)


def test_lr_images_may_stay_unrounded(carn_like_bundle: Path, large: Path) -> None:
    options = EvaluationOptions(patches=(16,), unrounded_lr=True)
    found = by_protocol(evaluate(carn_like_bundle, [large], options).scores, "k=0")
    hr, lr = degrade(read(large, 10**6).pixels, 4)
    unrounded = bicubic_resize(hr.astype(np.float32) / 255, *lr.shape[:2])
    assert 0.4 < np.abs(np.clip(unrounded, 0, 1) * 255 - lr).max() <= 0.5 + 1e-3
    with Upscaler(carn_like_bundle) as upscaler:
        whole = upscaler(unrounded, 4).image
        cut = upscale_patches(upscaler, unrounded, 4, RoutingRequest(), Patches(16, 12)).image
    for image, protocol in ((whole, "image"), (cut, "patches 16/12")):
        expected = psnr(RGB8.from_network(image), hr[: image.shape[0], : image.shape[1]], 4)
        assert found[protocol].psnr_rgb_db == expected
    rounded = evaluate(carn_like_bundle, [large], EvaluationOptions(patches=(16,)))
    assert found["image"] not in rounded.scores


def test_what_makes_the_numbers_is_said(
    carn_like_bundle: Path, large: Path, tmp_path: Path
) -> None:
    flat = save(np.full((153, 181, 3), 7, np.uint8), tmp_path / "hr" / "flat.png")
    options = ("--k", "1", "--patches", "16", "--patch-batch", "5", "--json", tmp_path / "a.json")
    found = run(carn_like_bundle, large, *options, "--table", "text", "--unrounded-lr")
    assert ", LR by bicubic, not rounded\n" in found.stdout
    assert "note: patches cover less than whole images do; --crop compares" in found.stderr
    report = json.loads((tmp_path / "a.json").read_text())
    assert (report["lr"], report["patch_batch"]) == ("LR by bicubic, not rounded", 5)
    found = run(carn_like_bundle, large, flat, "--crop", "--table", "text")
    assert ", LR by bicubic, in 8 bits\n" in found.stdout
    assert "cropped 32/28" in found.stdout
    assert f"note: {flat} is reproduced exactly, which makes means infinite" in found.stderr
    assert str(large) not in found.stderr
