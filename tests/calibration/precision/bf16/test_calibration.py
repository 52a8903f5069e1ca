"""pcsr-calibrate precision --format bf16: a bundle whose loss is small enough may run in bf16."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import Bundle, BundleError, Upscaler
from pcsr.calibration.cli import main
from pcsr.calibration.precision.bf16 import calibration as module
from pcsr.calibration.precision.bf16.calibration import Bf16Options, BothPrecisions, calibrate_bf16
from pcsr.errors import ImageError, UsageError
from pcsr.images import Picture, write
from pcsr.metrics import Pixels, bicubic_resize
from pcsr.runtime.cpu.candidates import choice
from pcsr.runtime.cpu.candidates.gate import CALIBRATION, has_passed
from pcsr.runtime.result import Result
from tests.commands import Ended, assert_refused, run
from tests.runtime.cpu.bf16 import has_openvino

ONE = Bf16Options(threads=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    paths = [tmp_path_factory.mktemp("photos") / f"{name}.png" for name in ("one", "two")]
    for seed, path in enumerate(paths):
        coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        write(Picture(bicubic_resize(coarse, 160, 176)), path)
    return paths


@pytest.fixture(params=["carn_like_bundle", "plain_bundle"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.getfixturevalue(request.param), tmp_path / "bundle"))


def calibrate(*args: object) -> Ended:
    return run(main, ("precision", "--format", "bf16", "--threads", "1", *args))


@pytest.fixture
def worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32 that is as good as bicubic, and bf16 with stripes of 100 levels."""
    exact: Callable[..., Result] = BothPrecisions.run

    def run_worse(self: BothPrecisions, lr: Pixels, graph: Any = None) -> Result:  # noqa: ANN401
        found = exact(self, lr, graph)
        image = bicubic_resize(lr, *found.image.shape[:2]).astype(int)
        if graph is not None:
            image[::2] += 100
        found.image[:] = np.clip(image, 0, 255)
        return found

    monkeypatch.setattr(BothPrecisions, "run", run_worse)


@has_openvino
def test_a_bundle_that_loses_little_opens(bundle: Path, photos: list[Path]) -> None:
    before = Bundle.load(bundle).manifest
    ended = calibrate(bundle, *photos, "--json", "-")
    assert ended.code == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert [Path(one["image"]).name for one in report["images"]] == ["one.png", "two.png"]
    assert 0 < report["images"][0]["error"] < 2  # a rounding of the last products is a level
    assert report["fidelity_db"] > 45
    assert report["psnr_loss_db"] == pytest.approx(report["psnr_fp32_db"] - report["psnr_db"])
    manifest = Bundle.load(bundle).manifest
    *kept, note = manifest.verification
    assert kept == [*before.verification]
    assert (note["what"], note["precision"], note["images"]) == (CALIBRATION, "bf16", 2)
    assert note["psnr_loss_db"] == report["psnr_loss_db"]
    assert (manifest.calibrations, manifest.graphs) == (before.calibrations, before.graphs)
    assert Upscaler(bundle, precision="bf16", threads=1).precision == "bf16"


@has_openvino
def test_a_new_note_replaces_the_old_one(carn_like_bundle: Path, photos: list[Path]) -> None:
    bundle = Path(shutil.copytree(carn_like_bundle, photos[0].parent / "again"))
    calibrate_bf16(bundle, photos, ONE)
    calibrate_bf16(bundle, photos[:1], Bf16Options(threads=1, adaptive=True, lr_only=True))
    notes = [one for one in Bundle.load(bundle).manifest.verification if one["what"] == CALIBRATION]
    assert [(note["images"], note["psnr_loss_db"]) for note in notes] == [(1, None)]


@has_openvino
@pytest.mark.usefixtures("worse")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], r"bf16 loses [0-9.]+ dB, more than --max-psnr-loss-db 0.1 in the mean"),
        (["--lr-only"], r"bf16 keeps [0-9.]+ dB to fp32, less than --min-fidelity-db 45 in the"),
    ],
)
def test_one_that_loses_too_much_is_refused(
    options: list[str], said: str, bundle: Path, photos: list[Path]
) -> None:
    text = (bundle / "manifest.json").read_text()
    assert_refused(calibrate(bundle, *photos, *options), 2, said)
    assert (bundle / "manifest.json").read_text() == text
    assert not has_passed(Bundle.load(bundle))


@has_openvino
@pytest.mark.usefixtures("worse")
def test_the_bound_is_the_callers(bundle: Path, photos: list[Path]) -> None:
    assert calibrate(bundle, *photos, "--max-psnr-loss-db", "50").code == 0


def test_where_nothing_computes_bf16(
    carn_like_bundle: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "bf16_instructions", list)
    assert_refused(calibrate(carn_like_bundle, *photos), 3, "has no instructions for bf16")


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"max_psnr_loss_db": -1.0}, UsageError),
        ({"scale": 0.5}, UsageError),
        ({"max_pixels": 100}, ImageError),
    ],
)
def test_what_is_out_of_range(
    options: dict[str, Any], kind: type[Exception], carn_like_bundle: Path, photos: list[Path]
) -> None:
    with pytest.raises(kind):
        calibrate_bf16(carn_like_bundle, photos, Bf16Options(threads=1, **options))


def test_a_damaged_bundle(tmp_path: Path, photos: list[Path]) -> None:
    with pytest.raises(BundleError):
        module.calibrate_bf16(tmp_path, photos, ONE)
