import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pcsr.bundle import Bundle
from pcsr.calibration.evaluation.evaluation import evaluate
from pcsr.calibration.evaluation.options import EvaluationOptions
from pcsr.calibration.evaluation.report import EvaluationReport, Score
from pcsr.errors import BundleError, UsageError
from pcsr.images import Picture, read, write
from pcsr.metrics import bicubic_resize, degrade, psnr, ssim
from pcsr.runtime.upscaler import Upscaler
from tests.runtime.routing.calibrations import PRESETS, calibrated

from .pictures import Array, figures, run, save, smooth


def test_one_score_per_image_and_method(
    carn_like_bundle: Path, plain_bundle: Path, two_images: list[Path]
) -> None:
    modes = EvaluationOptions(k=(0, 1, 0), adaptive=True, heavy_ratio=(0.25,))
    options = replace(modes, plain=(plain_bundle,))
    report = evaluate(carn_like_bundle, two_images, options)
    methods = ["bicubic", "plain", "k=0", "k=1", "adaptive", "heavy=0.25"]
    found = [(score.image, score.method) for score in report.scores]
    assert found == [(str(path), method) for path in two_images for method in methods]
    assert [mean.method for mean in report.means] == methods
    assert (report.scale, report.border, report.failures, report.notes) == (4, 4, (), ())


def test_scores_are_those_of_the_upscaled_lr_image(carn_like_bundle: Path, image: Path) -> None:
    report = evaluate(carn_like_bundle, [image], EvaluationOptions(k=(0.5,), refine=False))
    hr, lr = degrade(read(image, 10**6).pixels, 4)
    result = Upscaler(carn_like_bundle)(lr, scale=4, k=0.5, refine=False)
    bicubic, score = report.scores
    assert (bicubic.heavy_percent, bicubic.paper_gflops, bicubic.time_ms) == (None, None, None)
    assert bicubic.psnr_rgb_db == psnr(bicubic_resize(lr, 48, 44), hr, 4)
    assert score.psnr_rgb_db == psnr(result.image, hr, 4)
    assert score.psnr_y_db == psnr(result.image, hr, 4, "y")
    assert score.ssim_rgb == ssim(result.image, hr, 4)
    assert score.ssim_y == ssim(result.image, hr, 4, "y")
    assert result.heavy is not None
    assert score.heavy_percent == pytest.approx(100 * result.heavy.mean())


def test_costs_are_those_of_the_bundle(carn_like_bundle: Path, image: Path) -> None:
    _, _, light, heavy = evaluate(
        carn_like_bundle, [image], EvaluationOptions(heavy_ratio=(0.0, 1.0))
    ).scores
    costs = Bundle.load(carn_like_bundle).manifest.costs
    sizes, pixels = ((12, 11), (48, 44)), 48 * 44
    assert (light.heavy_percent, heavy.heavy_percent) == (0, 100)
    assert light.paper_gflops == costs.paper_flops(*sizes, (0, pixels)) / 1e9
    assert heavy.paper_gflops == costs.paper_flops(*sizes, (pixels, 0)) / 1e9
    assert light.gmacs == costs.macs(*sizes, (0, pixels)) / 1e9
    assert light.time_ms is not None
    assert light.time_ms > 0


def test_means_are_over_images(carn_like_bundle: Path, two_images: list[Path]) -> None:
    report = evaluate(carn_like_bundle, two_images, EvaluationOptions())
    first, second = (score for score in report.scores if score.method == "k=0")
    mean = report.means[1]
    assert (mean.image, mean.method) == ("mean", "k=0")
    assert mean.psnr_rgb_db == pytest.approx((first.psnr_rgb_db + second.psnr_rgb_db) / 2)
    assert report.means[0].time_ms is None


def test_fractional_scale(carn_like_bundle: Path, image: Path) -> None:
    report = evaluate(carn_like_bundle, [image], EvaluationOptions(scale=2.5))
    assert (report.scale, report.border) == (2.5, 3)
    assert len(report.scores) == 2


@pytest.mark.parametrize("name", ["one.png", "onex4.tif"])
def test_given_lr_images(carn_like_bundle: Path, image: Path, tmp_path: Path, name: str) -> None:
    hr, lr = degrade(read(image, 10**6).pixels, 4)
    write(Picture(hr), image, overwrite=True)
    save(lr, tmp_path / "lr" / name)
    given = evaluate(carn_like_bundle, [image], EvaluationOptions(lr=tmp_path / "lr"))
    made = evaluate(carn_like_bundle, [image], EvaluationOptions())
    assert figures(given.scores) == figures(made.scores)


@pytest.mark.parametrize(
    ("names", "failure"),
    [
        (["onex4.png"], "one.png does not fit .*onex4.png: expected 40x44 .* found 45x50"),
        (["other.png"], "no LR image for .*one.png: expected a file named onex4 or one"),
        (["one.png", "one.tif"], "two LR images for .*one.png: .*one.png and .*one.tif"),
    ],
)
def test_lr_images_that_do_not_pair(
    carn_like_bundle: Path, image: Path, tmp_path: Path, names: list[str], failure: str
) -> None:
    for name in names:
        save(smooth(11, 10), tmp_path / "lr" / name)
    report = evaluate(carn_like_bundle, [image], EvaluationOptions(lr=tmp_path / "lr"))
    assert (report.scores, report.means) == ((), ())
    (line,) = report.failures
    assert re.search(failure, line)


def test_every_layout_is_compared_as_8_bit_rgb(
    carn_like_bundle: Path, image: Path, tmp_path: Path
) -> None:
    rgb = read(image, 10**6).pixels
    alpha = np.full((*rgb.shape[:2], 1), 128, np.uint8)
    grey = np.repeat(rgb[..., :1], 3, axis=2)
    same: list[tuple[Array, Array]] = [
        (rgb, rgb.astype(np.uint16) * 257),
        (rgb, (rgb / 255).astype(np.float32)),
        (rgb, np.concatenate([rgb, alpha], axis=2)),
        (grey, grey[..., 0]),
    ]
    for number, (plain, stored) in enumerate(same):
        paths = [
            save(plain, tmp_path / f"{number}a.tif"),
            save(stored, tmp_path / f"{number}b.tif"),
        ]
        report = evaluate(carn_like_bundle, paths, EvaluationOptions())
        assert figures(report.scores[:2]) == figures(report.scores[2:])
        alpha_note = (f"{paths[1]}: compared without its alpha channel",)
        assert report.notes == (alpha_note if stored.shape[2:] == (4,) else ())


def test_failed_images_do_not_stop_the_others(
    carn_like_bundle: Path, two_images: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    tiny = save(smooth(3, 30), tmp_path / "tiny.png")
    narrow = save(smooth(30, 8), tmp_path / "narrow.png")
    report = evaluate(carn_like_bundle, [bad, two_images[0], tiny, narrow], EvaluationOptions())
    assert {score.image for score in report.scores} == {str(two_images[0])}
    assert "bad.png" in report.failures[0]
    assert report.failures[1:] == (
        f"cannot evaluate {tiny}: an image of 30x3 pixels is too small for scale 4",
        f"cannot evaluate {narrow}: a border of 4 px does not fit an image of 8x28 pixels",
    )


def test_plain_bundle_alone(plain_bundle: Path, image: Path) -> None:
    report = evaluate(plain_bundle, [image], EvaluationOptions())
    assert [score.method for score in report.scores] == ["bicubic", "plain"]
    assert report.scores[1].heavy_percent is None
    assert report.scores[1].paper_gflops is not None


def test_options_that_do_not_fit_the_bundles(
    carn_like_bundle: Path, plain_bundle: Path, image: Path
) -> None:
    refused = [
        (plain_bundle, EvaluationOptions(k=(1,))),
        (plain_bundle, EvaluationOptions(plain=(plain_bundle,))),
        (plain_bundle, EvaluationOptions(scale=2)),
        (carn_like_bundle, EvaluationOptions(plain=(carn_like_bundle,))),
        (carn_like_bundle, EvaluationOptions(plain=(plain_bundle,), scale=2)),
        (carn_like_bundle, EvaluationOptions(scale=math.nan)),
        (carn_like_bundle, EvaluationOptions(border=-1)),
        (carn_like_bundle, EvaluationOptions(k=(math.inf,))),
        (carn_like_bundle, EvaluationOptions(lr=image.parent / "missing")),
    ]
    for bundle, options in refused:
        with pytest.raises(UsageError):
            evaluate(bundle, [image], options)
    with pytest.raises(BundleError):
        evaluate(image.parent, [image], EvaluationOptions())


def test_json_holds_null_for_nan_and_inf_as_text() -> None:
    score = Score("a.png", "bicubic", math.inf, 30.0, math.nan, 1.0)
    report = json.loads(EvaluationReport("b", 4.0, 4, (score,), (), ()).to_json())
    expected = {"psnr_rgb_db": "inf", "psnr_y_db": 30.0, "ssim_rgb": None, "time_ms": None}
    for found in (report["scores"][0], report["means"][0]):
        assert expected.items() <= found.items()


def test_table_on_stdout(carn_like_bundle: Path, two_images: list[Path]) -> None:
    result = run(carn_like_bundle, two_images[0].parent, "--adaptive", "--k", "0")
    assert result.exit_code == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[:2] for row in rows if row[0] == "two.png"] == [
        ["two.png", method] for method in ("bicubic", "k=0", "adaptive")
    ]
    assert [row[1] for row in rows if row[0] == "mean"] == ["bicubic", "k=0", "adaptive"]
    assert all(len(row) == 10 for row in rows[2:])
    assert result.stderr == ""


def test_json_alone_on_stdout_and_failures_on_stderr(
    carn_like_bundle: Path, image: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    result = run(carn_like_bundle, bad, image, "--json", "-")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert [score["method"] for score in report["scores"]] == ["bicubic", "k=0"]
    assert len(report["failures"]) == len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")


def test_json_and_curve_files(
    carn_like_bundle: Path, plain_bundle: Path, image: Path, tmp_path: Path
) -> None:
    curve, report = tmp_path / "curve.png", tmp_path / "report.json"
    command = [str(carn_like_bundle), str(image), "--plain", str(plain_bundle)]
    command += ["--k", "0", "--k", "1", "--adaptive", "--heavy-ratio", "0.5"]
    command += ["--curve", str(curve), "--json", str(report)]
    result = run(*command)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("image")
    assert len(json.loads(report.read_text())["means"]) == 6
    assert min(read(curve, 10**7).pixels.shape[:2]) > 500
    again = run(*command)
    assert again.exit_code == 1
    assert "exists; pass --overwrite" in again.stderr
    assert again.stdout == ""
    assert run(*command, "--overwrite").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "hr", "report.json"]


def test_modes_stand_beside_k_0(carn_like_bundle: Path, image: Path) -> None:
    result = run(carn_like_bundle, image, "--adaptive", "--json", "-")
    methods = [score["method"] for score in json.loads(result.stdout)["scores"]]
    assert methods == ["bicubic", "k=0", "adaptive"]


def test_presets_and_budgets_are_modes(carn_like_bundle: Path, image: Path, tmp_path: Path) -> None:
    bundle, curve = calibrated(carn_like_bundle, tmp_path / "calibrated"), tmp_path / "curve.png"
    modes = ["--preset", "fast", "--preset", "quality", "--budget-ms", "1e6", "--k", "4"]
    result = run(bundle, image, *modes, "--json", "-", "--curve", curve)
    assert result.exit_code == 0, result.stderr
    scores = {score["method"]: score for score in json.loads(result.stdout)["scores"]}
    names = ["bicubic", "k=4", "preset=fast", "preset=quality", "budget=1000000ms"]
    assert list(scores) == names
    assert PRESETS["fast"] == 4
    assert scores["preset=fast"]["psnr_rgb_db"] == scores["k=4"]["psnr_rgb_db"]
    assert scores["budget=1000000ms"]["heavy_percent"] == 100
    assert curve.stat().st_size > 0


def test_presets_and_budgets_need_a_calibration(
    carn_like_bundle: Path, image: Path, tmp_path: Path
) -> None:
    bundle = calibrated(carn_like_bundle, tmp_path / "calibrated")
    commands: list[tuple[list[str | Path], str]] = [
        ([carn_like_bundle, image, "--preset", "fast"], "run pcsr-calibrate operating-point"),
        ([carn_like_bundle, image, "--budget-ms", "9"], "run pcsr-calibrate operating-point"),
        ([bundle, image, "--preset", "slow"], "no preset 'slow'"),
        ([bundle, image, "--budget-ms", "nan"], "budget_ms must be"),
    ]
    for command, message in commands:
        result = run(*command)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_an_image_too_large_for_a_budget_fails_alone(
    carn_like_bundle: Path, image: Path, tmp_path: Path
) -> None:
    bundle = calibrated(carn_like_bundle, tmp_path / "calibrated")
    large = save(smooth(400, 400, seed=1), image.with_name("large.png"))
    upscaler = Upscaler(bundle)
    model = upscaler.operating_point.times[0]
    least_ms = [model.safe_ms(upscaler.work(size, 4), 0.0) for size in ((12, 11), (100, 100))]
    assert 2 * least_ms[0] < least_ms[1]
    report = evaluate(bundle, [large, image], EvaluationOptions(budget_ms=(2 * least_ms[0],)))
    assert {score.image for score in report.scores} == {str(image)}
    (line,) = report.failures
    assert f"{large}: a budget of" in line


def test_missing_extra_is_named(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pcsr.extras.find_spec", lambda name: None if name == "PIL" else name)
    result = run(image.parent, image)
    assert result.exit_code == 3
    assert result.stderr == (
        "error: pcsr-evaluate needs pillow; run pip install 'pcsr[cpu,evaluate]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--curve", "c.png"], 2, "a curve needs at least two modes"),
        (["--k", "0", "--k", "1", "--curve", "c.xyz"], 2, "c.xyz"),
        (["--json", "missing/r.json"], 1, "there is no folder missing"),
        (["--scale", "0"], 2, "scale"),
        (["--device", "cuda:99"], 3, "cuda:99"),
        (["--max-pixels", "100"], 1, "raise --max-pixels"),
        (["missing.png"], 2, "missing.png"),
    ],
)
def test_wrong_usage_is_one_line(
    carn_like_bundle: Path,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    exit_code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(carn_like_bundle, image, *arguments)
    assert result.exit_code == exit_code
    assert message in result.stderr.splitlines()[-1]
    assert result.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["hr"]
