"""pcsr-calibrate operating-point on tiny networks."""

import json
import re
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from pcsr.bundle import Bundle
from pcsr.calibration.cli import main
from pcsr.calibration.operating_point import clock
from pcsr.calibration.operating_point.calibration import OperatingPointOptions, calibrate, choose
from pcsr.calibration.operating_point.sweep import estimated_loss_db
from pcsr.images import Picture, read, write
from pcsr.metrics import bicubic_resize, degrade, psnr
from pcsr.runtime.cpu.upscaler import HostUpscaler
from pcsr.runtime.routing.operating_point import OperatingPoint, Point
from pcsr.runtime.routing.time_model import TimeModel
from pcsr.runtime.upscaler import Upscaler

LARGEST = (100, 150)


def show(items: Iterable[Any], label: str) -> AbstractContextManager[Iterable[Any]]:
    return nullcontext(items)


@pytest.fixture(autouse=True)
def few_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "SMALLEST", (20, 30))
    monkeypatch.setattr(clock, "SIZES", 3)


@pytest.fixture
def bundle(carn_like_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(carn_like_bundle, tmp_path / "bundle"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        coarse = np.random.default_rng(seed).integers(0, 256, (25, 25, 3), dtype=np.uint8)
        write(Picture(bicubic_resize(coarse, 100 + 12 * seed, 112)), folder / f"{seed}.png")
    return folder


def options(**changes: Any) -> OperatingPointOptions:  # noqa: ANN401
    return OperatingPointOptions(**{"rounds": 2, "largest": LARGEST, **changes})


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["operating-point", *map(str, arguments)])


def quality(data: Any) -> Any:  # noqa: ANN401
    return {name: data[name] for name in ("points", "presets", "images", "scale")}


def test_points_are_what_the_upscaler_gives(bundle: Path, photos: Path) -> None:
    found = calibrate(bundle, files(photos), options(), show)
    upscaler = Upscaler(bundle)
    for point in (found.points[0], found.points[7], found.points[-1]):
        scores = []
        for path in files(photos):
            hr, lr = degrade(read(path, 10**6).pixels, 4)
            best = psnr(upscaler(lr, heavy_ratio=1.0).image, hr, 4)
            result = upscaler(lr, k=point.k, heavy_ratio=point.heavy_ratio)
            found_db = psnr(result.image, hr, 4)
            scores.append([result.stats.heavy_share, found_db, best - found_db])
        expected = np.mean(scores, axis=0)
        measured = (point.heavy_share, point.psnr_db, point.loss_db)
        assert measured == pytest.approx(tuple(expected), abs=1e-9)
        assert point.worst_loss_db == pytest.approx(max(score[2] for score in scores))


def test_the_sweep_spans_all_heavy_to_all_light(bundle: Path, photos: Path) -> None:
    points = calibrate(bundle, files(photos), options(), show).points
    shares = [point.heavy_share for point in points if point.k is not None]
    assert (shares[0], shares[-1]) == (1, 0)
    assert shares == sorted(shares, reverse=True)
    assert max(-np.diff(shares)) < 0.15
    assert any(point.k == 0 for point in points)
    ratios = [(point.heavy_ratio, point.heavy_share) for point in points if point.k is None]
    assert len(ratios) > 3
    assert all(ratio == pytest.approx(share, abs=1e-3) for ratio, share in ratios)


def test_three_upsamplers(three_way_bundle: Path, photos: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(three_way_bundle, tmp_path / "three"))
    found = calibrate(path, files(photos), options(), show)
    by_k = [point for point in found.points if point.k is not None]
    assert (by_k[0].heavy_share, by_k[-1].heavy_share) == (1, 0)
    assert all(point.difficulty is None for point in by_k)
    Upscaler(path, preset="balanced")(np.zeros((9, 9, 3), dtype=np.uint8))


def test_the_bundle_serves_presets_and_budgets(bundle: Path, photos: Path) -> None:
    found = calibrate(bundle, files(photos), options(), show)
    upscaler = Upscaler(bundle)
    loaded = OperatingPoint.load(upscaler.bundle)
    assert loaded.points == found.points
    assert [model.key for model in loaded.times] == [upscaler.time_key()]
    lr = degrade(read(files(photos)[0], 10**6).pixels, 4)[1]
    for name, point in found.presets.items():
        stats = upscaler(lr, preset=name).stats
        assert stats.threshold == pytest.approx(point.difficulty)
        assert stats.pixels_per_upsampler == upscaler(lr, k=point.k).stats.pixels_per_upsampler
    model, work = loaded.times[0], upscaler.work(LARGEST, 4)
    budget_ms = (model.safe_ms(work, 0.0) + model.safe_ms(work, 1.0)) / 2
    noise = np.random.default_rng(0).integers(0, 256, (*LARGEST, 3), dtype=np.uint8)
    share = upscaler(noise, budget_ms=budget_ms).stats.heavy_share
    assert share == pytest.approx(model.ratio_within(budget_ms, work), abs=1e-3)


def test_presets_are_the_lightest_within_their_bounds(bundle: Path, photos: Path) -> None:
    bounds = {"quality": 0.001, "balanced": 0.1, "fast": 3.0}
    found = calibrate(bundle, files(photos), options(bounds_db=bounds), show)
    ks = [point.k for point in found.presets.values()]
    assert ks == sorted(ks)  # type: ignore[type-var]
    for name, point in found.presets.items():
        assert point.loss_db <= bounds[name]
        lighter = [p for p in found.points if p.k is not None and p.k > (point.k or 0)]
        assert all(p.loss_db > bounds[name] for p in lighter)


def test_a_curve_that_is_not_monotone_keeps_presets_in_order() -> None:
    losses = [0.0, 0.03, 0.008, 0.15, 0.04, 0.5]
    points = [Point(k, None, 0.5, 0.5, 30, loss, loss) for k, loss in enumerate(losses)]
    chosen = choose(points, {"quality": 0.01, "balanced": 0.05, "fast": 0.2})
    assert [point.k for point in chosen.values()] == [2, 4, 4]


def test_inputs_alone_are_compared_with_all_heavy(bundle: Path, photos: Path) -> None:
    found = calibrate(bundle, files(photos), options(lr_only=True, assumed_psnr_db=25.0), show)
    by_k = [point for point in found.points if point.k is not None]
    assert (by_k[0].psnr_db, by_k[0].loss_db) == (100, 0)
    upscaler = Upscaler(bundle)
    fidelity = []
    for path in files(photos):
        lr = read(path, 10**6).pixels
        images = [upscaler(lr, heavy_ratio=ratio).image for ratio in (0.0, 1.0)]
        fidelity.append(psnr(images[0], images[1], 4))
    assert by_k[-1].psnr_db == pytest.approx(np.mean(fidelity))
    losses = [estimated_loss_db(one, 25.0) for one in fidelity]
    assert by_k[-1].loss_db == pytest.approx(np.mean(losses))
    assert found.data["assumed_psnr_db"] == 25


def test_the_estimate_of_a_loss_is_that_of_independent_errors() -> None:
    random = np.random.default_rng(0)
    error, difference = random.normal(0, 8, 10**6), random.normal(0, 2, 10**6)

    def db(values: Any) -> float:  # noqa: ANN401
        return float(10 * np.log10(255**2 / np.square(values).mean()))

    loss_db = db(error) - db(error + difference)
    assert estimated_loss_db(db(difference), db(error)) == pytest.approx(loss_db, abs=0.01)


@pytest.mark.parametrize("after", [1, 3, 30])
def test_an_interrupted_run_goes_on(
    bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    real, calls = HostUpscaler._upscale, []

    def counted(self: HostUpscaler, *args: Any) -> Any:  # noqa: ANN401
        calls.append(args)
        if len(calls) == limit:
            raise KeyboardInterrupt
        return real(self, *args)

    limit = 0
    monkeypatch.setattr(HostUpscaler, "_upscale", counted)
    expected = quality(calibrate(bundle, files(photos), options(), show).data)
    whole = len(calls)
    calls.clear()
    limit = after
    with pytest.raises(KeyboardInterrupt):
        calibrate(bundle, files(photos), options(), show)
    limit = 0
    calls.clear()
    assert quality(calibrate(bundle, files(photos), options(), show).data) == expected
    assert len(calls) < whole or after == 1
    assert not list(bundle.parent.glob(".*"))


def test_times_of_other_machines_are_kept(bundle: Path, photos: Path) -> None:
    first = calibrate(bundle, files(photos), options(), show)
    key = asdict(first.fits[0].model.key)
    calibrate(bundle, files(photos)[:1], options(threads=key["threads"] + 1), show)
    again = calibrate(bundle, files(photos), options(), show)
    threads = [entry["key"]["threads"] for entry in again.data["times"]]
    assert threads == [key["threads"] + 1, key["threads"]]
    assert len(list(bundle.glob("operating-point*"))) == 1
    Upscaler(bundle, threads=key["threads"] + 1, budget_ms=1e6)
    Upscaler(bundle, threads=key["threads"], budget_ms=1e6)


def test_the_command(bundle: Path, photos: Path, tmp_path: Path) -> None:
    report, curve = tmp_path / "report.json", tmp_path / "curve.png"
    to_write = ("--json", report, "--curve", curve)
    done = run(bundle, photos, "--rounds", 2, "--largest", "150x100", *to_write)
    assert done.exit_code == 0, done.output
    for name in ("all heavy", "quality", "balanced", "fast", "all light"):
        assert name in done.stdout
    assert json.loads(report.read_text()) == Bundle.load(bundle).calibration("operating_point")
    assert min(read(curve, 10**7).pixels.shape[:2]) > 500


@pytest.mark.parametrize("largest", ["1x1", "12x12", "64x64", "20x500"])
def test_small_largest_sizes_are_timed(
    bundle: Path, photos: Path, largest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "SMALLEST", (80, 120))
    done = run(bundle, photos, "--rounds", 2, "--largest", largest)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("scale", [1, 1.3, 4])
@pytest.mark.parametrize("largest_px", [1, 64 * 64, 720 * 1280])
@pytest.mark.parametrize("halo_px", [None, 9, 300])
def test_no_case_is_timed_twice(scale: float, largest_px: int, halo_px: int | None) -> None:
    kinds = clock.call_kinds(scale, largest_px, halo_px)
    assert len(set(kinds)) == len(kinds)
    assert min(kind.size[0] for kind in kinds) > (halo_px or 0)


def test_a_preset_slower_than_all_heavy_is_warned_of(
    bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_when_light(self: TimeModel, work: object, heavy_share: float) -> float:
        return 20 - 10 * heavy_share

    monkeypatch.setattr(TimeModel, "usual_ms", slow_when_light)
    bounds = ("--quality-loss-db", 50, "--balanced-loss-db", 50, "--fast-loss-db", 50)
    done = run(bundle, photos, "--rounds", 2, "--largest", "100x150", *bounds, "--json", "-")
    message = "preset 'balanced' is slower than all heavy at 25x28 (20.0 ms instead of 10.0)"
    assert message in done.stderr
    assert any(message in text for text in json.loads(done.stdout)["warnings"])


def test_a_calibration_again_says_what_it_replaces(
    bundle: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calibrate(bundle, files(photos), options(), show)
    assert "will be replaced" not in caplog.text
    with caplog.at_level("INFO"):
        calibrate(bundle, files(photos), options(), show)
    assert f"the operating point that {bundle} has will be replaced" in caplog.text


def test_images_that_fail_are_listed_and_the_others_used(bundle: Path, photos: Path) -> None:
    (photos / "bad.png").write_bytes(b"no image")
    write(Picture(np.zeros((40, 400, 3), dtype=np.uint8)), photos / "low.png")
    done = run(bundle, photos, "--rounds", 2, "--largest", "150x100", "--json", "-")
    assert done.exit_code == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "bad.png" in errors[0]
    assert "low.png: an input of 100x10 pixels is smaller than the halo" in errors[1]
    assert len(json.loads(done.stdout)["images"]) == 2


REFUSED: dict[str, tuple[list[object], int, str]] = {
    "rounds": (["--rounds", 1], 2, "rounds must be at least 2"),
    "most rounds": (["--rounds", 10**9], 2, "rounds must be at most 1000"),
    "huge": (["--largest", "99999x99999"], 2, "time smaller inputs"),
    "largest": (["--largest", "big"], 2, "WIDTHxHEIGHT"),
    "empty largest": (["--largest", ""], 2, "WIDTHxHEIGHT"),
    "scale": (["--scale", 0.5], 2, "scale"),
    "bounds": (["--fast-loss-db", 0.001], 2, "none below the one before"),
    "nan": (["--quality-loss-db", "nan"], 2, "losses in dB"),
    "psnr": (["--lr-only", "--assumed-psnr-db", 0], 2, "between 10 and 60"),
    "precision": (["--precision", "fp16"], 2, "fp16"),
    "curve": (["--curve", "c.xyz"], 2, "c.xyz"),
    "device": (["--device", "cuda:99"], 3, "cuda:99"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nonsense_is_refused_before_any_work(bundle: Path, photos: Path, case: str) -> None:
    extra, code, message = REFUSED[case]
    assert_refused(run(bundle, photos, *extra), code, message)


BROKEN = {
    "backbone.onnx is damaged": "fp32/backbone.onnx",
    "upsampler_1.onnx is damaged": "fp32/upsampler_1.onnx",
    "mlps.npz is damaged": "fp32/mlps.npz",
    "manifest.json cannot be read": "manifest.json",
}


@pytest.mark.parametrize("message", BROKEN)
def test_damaged_bundles_are_refused(bundle: Path, photos: Path, message: str) -> None:
    (bundle / BROKEN[message]).write_bytes(b"{")
    assert_refused(run(bundle, photos), 2, message)


def test_bundles_without_routing_are_refused(
    plain_bundle: Path, single_bundle: Path, photos: Path
) -> None:
    assert_refused(run(plain_bundle, photos), 2, "is a plain network and nothing to route")
    assert_refused(run(single_bundle, photos), 2, "has one upsampler and nothing to route")


def test_no_usable_image_is_refused(bundle: Path, photos: Path, tmp_path: Path) -> None:
    for path in files(photos):
        path.write_bytes(b"no image")
    assert_refused(run(bundle, photos), 2, "no image that can be used: .*0.png.*1.png")
    (tmp_path / "empty").mkdir()
    assert_refused(run(bundle, tmp_path / "empty"), 2, "empty")


def assert_refused(done: Result, code: int, message: str) -> None:
    assert done.exit_code == code, done.output
    assert len(done.stderr.splitlines()) == 1
    assert re.search(message, done.stderr)
    assert done.stdout == ""
