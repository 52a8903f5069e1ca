"""pcsr-upscale with presets, budgets and bounds of loss."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr.runtime.cpu.upscaler import HostUpscaler
from pcsr.runtime.result import Result
from pcsr.runtime.upscaler import Upscaler
from tests.commands import assert_clean, assert_refused, upscale
from tests.runtime.routing.calibrations import PRESETS, calibrated

from .pictures import picture
from .videos import SIZE, video


@pytest.fixture
def bundle(carn_like_bundle: Path, tmp_path: Path) -> Path:
    return calibrated(carn_like_bundle, tmp_path / "calibrated")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return picture(tmp_path / "in.png")


def record(*args: Any) -> Any:  # noqa: ANN401
    ended = upscale(*args, "--json", "-")
    assert ended.code == 0, ended.stderr
    assert_clean(ended)
    return json.loads(ended.stdout)


def test_a_preset_is_its_k(bundle: Path, source: Path, tmp_path: Path) -> None:
    found = record(bundle, source, tmp_path / "a.png", "--preset", "fast")
    expected = record(bundle, source, tmp_path / "b.png", "--k", PRESETS["fast"])
    assert found["pixels_per_upsampler"] == expected["pixels_per_upsampler"]
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    bound = record(bundle, source, tmp_path / "c.png", "--max-psnr-loss-db", 0.3)
    assert bound["pixels_per_upsampler"] == expected["pixels_per_upsampler"]


def test_a_budget_in_milliseconds(bundle: Path, source: Path, tmp_path: Path) -> None:
    generous = record(bundle, source, tmp_path / "a.png", "--budget-ms", 1e6)
    assert generous["heavy_share"] == 1
    size = generous["lr_size"]
    upscaler = Upscaler(bundle)
    model = upscaler.operating_point.times[0]
    budget_ms = model.safe_ms(upscaler.work(size, 4), 0.3)
    found = record(bundle, source, tmp_path / "b.png", "--budget-ms", budget_ms)
    assert found["heavy_share"] == pytest.approx(0.3, abs=0.01)


REFUSED: dict[str, tuple[list[object], str]] = {
    "both": (["--preset", "fast", "--budget-ms", 5], "preset and budget_ms exclude each other"),
    "unknown": (["--preset", "slow"], "no preset 'slow'"),
    "least": (["--budget-ms", 0.001], "the least time is"),
    "alone": (["--adaptive-budget"], "adaptive_budget needs budget_ms"),
    "negative": (["--budget-ms", -1], "budget_ms must be"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(bundle: Path, source: Path, tmp_path: Path, case: str) -> None:
    options, message = REFUSED[case]
    ended = upscale(bundle, source, tmp_path / "out.png", *options)
    assert_refused(ended, 2, message)


def test_without_calibration(carn_like_bundle: Path, source: Path, tmp_path: Path) -> None:
    ended = upscale(carn_like_bundle, source, tmp_path / "out.png", "--preset", "fast")
    assert_refused(ended, 2, "run pcsr-calibrate operating-point")


def test_frames_of_a_video_adapt(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscaler = Upscaler(bundle)
    model, work = upscaler.operating_point.times[0], upscaler.work(SIZE, 4)
    took, shares = list[float](), list[float]()
    real: Callable[..., Result] = HostUpscaler._upscale

    def slow(self: HostUpscaler, *args: Any) -> Result:  # noqa: ANN401
        result = real(self, *args)
        shares.append(result.stats.heavy_share)
        took.append(1.5 * model.usual_ms(work, shares[-1]))
        return replace(result, measured=replace(result.stats, total_ms=took[-1]))

    monkeypatch.setattr(HostUpscaler, "_upscale", slow)
    clip = video(tmp_path / "in.mp4", frames=8)
    budget_ms = 1.5 * model.usual_ms(work, 0.25)
    options = ("--budget-ms", budget_ms, "--adaptive-budget", "--reuse", "off")
    assert upscale(bundle, clip, tmp_path / "out.mp4", *options).code == 0
    assert took[0] > 1.2 * budget_ms
    assert took[4:] == pytest.approx([budget_ms] * 4, rel=0.02)
    assert np.ptp(shares) > 0.2
