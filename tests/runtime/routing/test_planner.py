"""Presets, budgets and bounds of loss through the library."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr.errors import BundleError, CancelledError, UsageError
from pcsr.runtime.cpu.upscaler import HostUpscaler
from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.result import Result
from pcsr.runtime.routing.planner import Planner
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import fixed_rule, sigmoid
from pcsr.runtime.routing.time_model import TimeModel, Workload
from pcsr.runtime.upscaler import Upscaler

from .calibrations import COEFFICIENTS, PRESETS, calibrated, slower, write

SIZE = (20, 30)
Image = NDArray[np.uint8]


@pytest.fixture
def image() -> Image:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def bundle(carn_like_bundle: Path, tmp_path: Path) -> Path:
    return calibrated(carn_like_bundle, tmp_path / "calibrated")


def model_of(upscaler: Upscaler) -> TimeModel:
    return upscaler.operating_point.times[0]


def assert_same(found: Result, expected: Result) -> None:
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.assignment, expected.assignment)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_routes_by_its_threshold(bundle: Path, image: Image, preset: str) -> None:
    plain = Upscaler(bundle)
    expected = plain(image, k=PRESETS[preset])
    assert_same(plain(image, preset=preset), expected)
    assert_same(Upscaler(bundle, preset=preset)(image), expected)
    cost = plain.bundle.manifest.costs.cost_table(4)
    cut = fixed_rule(cost, PRESETS[preset]).cut
    assert cut is not None
    assert expected.stats.threshold == pytest.approx(float(sigmoid(cut)))


@pytest.mark.parametrize(
    ("loss_db", "k"), [(0.0, -1e6), (0.005, 0.0), (0.1, 2.0), (0.2, 4.0), (5, 1e6)]
)
def test_a_bound_of_loss_takes_the_lightest_point_within(
    bundle: Path,
    image: Image,
    loss_db: float,
    k: float,
) -> None:
    assert_same(Upscaler(bundle)(image, max_psnr_loss_db=loss_db), Upscaler(bundle)(image, k=k))


def test_a_call_overrides_the_constructor(bundle: Path, image: Image) -> None:
    fast = Upscaler(bundle, preset="fast")
    assert_same(fast(image, k=0.0), Upscaler(bundle)(image))
    assert_same(fast(image, heavy_ratio=0.3), Upscaler(bundle)(image, heavy_ratio=0.3))
    assert_same(fast(image, preset="quality"), Upscaler(bundle)(image, k=0.5))
    assert_same(fast(image, refine=False), Upscaler(bundle)(image, k=4.0, refine=False))


@pytest.mark.parametrize("scale", [4, 2.5])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.7, 1.0])
def test_a_budget_becomes_the_share_that_takes_that_long(
    bundle: Path,
    image: Image,
    scale: float,
    share: float,
) -> None:
    upscaler = Upscaler(bundle)
    budget_ms = model_of(upscaler).safe_ms(upscaler.work(SIZE, scale), share)
    for found in (
        upscaler(image, scale, budget_ms=1.0001 * budget_ms),
        Upscaler(bundle, budget_ms=1.0001 * budget_ms)(image, scale),
    ):
        assert found.stats.heavy_share == pytest.approx(share, abs=2e-3)


def test_rows_that_are_streamed_keep_to_the_budget_too(bundle: Path, image: Image) -> None:
    upscaler = Upscaler(bundle)
    budget_ms = model_of(upscaler).safe_ms(upscaler.work(SIZE, 4), 0.4)
    rows: list[Any] = []
    stats = upscaler.stream(image, rows.append, budget_ms=budget_ms)
    assert stats.heavy_share == pytest.approx(0.4, abs=2e-3)
    assert sum(map(len, rows)) == 4 * SIZE[0]


def test_alpha_is_a_second_image_in_the_budget(bundle: Path, image: Image) -> None:
    upscaler = Upscaler(bundle)
    budget_ms = model_of(upscaler).safe_ms(upscaler.work(SIZE, 4), 0.4)
    for alpha, images in ((image[..., :1], 2), (np.full_like(image[..., :1], 9), 1)):
        rgba = np.concatenate([image, alpha], axis=2)
        share = upscaler(rgba, budget_ms=images * budget_ms).stats.heavy_share
        assert share == pytest.approx(0.4, abs=2e-3)


def test_an_infeasible_budget_says_the_least_time(bundle: Path, image: Image) -> None:
    upscaler = Upscaler(bundle)
    least_ms = model_of(upscaler).safe_ms(upscaler.work(SIZE, 4), 0.0)
    with pytest.raises(UsageError, match=rf"30x20 at scale 4: the least time is {least_ms:.3g} ms"):
        upscaler(image, budget_ms=0.5 * least_ms)


def test_the_device_uses_the_same_budgets(
    carn_like_bundle: Path, tmp_path: Path, image: Image
) -> None:
    key = Upscaler(carn_like_bundle, backend="torch").time_key()
    assert (key.backend, key.passes) == ("torch", "graphs")
    model = TimeModel(key, COEFFICIENTS, ((1000.0, 1.0),), 1.0)
    upscaler = Upscaler(calibrated(carn_like_bundle, tmp_path / "b", [model]), backend="torch")
    for share in (0.2, 0.6):
        budget_ms = model.safe_ms(upscaler.work(SIZE, 4), share)
        found = upscaler(image, budget_ms=budget_ms, adaptive_budget=True)
        assert found.stats.heavy_share == pytest.approx(share, abs=2e-3)
    assert upscaler.kept_shapes == 1


def test_work_counts_what_the_backbone_computes(carn_like_bundle: Path) -> None:
    radius = Upscaler(carn_like_bundle).bundle.manifest.model.receptive_radius_px or 0
    for backend in ("native", "torch"):
        whole = Upscaler(carn_like_bundle, backend=backend)
        assert whole.work((40, 60), 2.5) == Workload(40 * 60, 100 * 150)
        tiled = Upscaler(carn_like_bundle, backend=backend, tile_px=20)
        crops = 2 * (20 + radius) * (3 * 20 + 4 * radius)
        assert 40 * 60 < tiled.work((40, 60), 2.5).backbone_px <= 1.5 * crops


SLOWNESS: list[Callable[[float], float]] = [lambda ms: 3 * ms, lambda ms: 0.4 * ms + 1]


@pytest.mark.parametrize("slowness", SLOWNESS)
def test_an_adaptive_budget_converges_on_another_machine(
    bundle: Path,
    image: Image,
    monkeypatch: pytest.MonkeyPatch,
    slowness: Callable[[float], float],
) -> None:
    upscaler = Upscaler(bundle, adaptive_budget=True)
    model, work = model_of(upscaler), upscaler.work(SIZE, 4)
    real: Callable[..., Result] = HostUpscaler._upscale

    def timed(*args: Any) -> Result:  # noqa: ANN401
        result = real(*args)
        took_ms = slowness(model.usual_ms(work, result.stats.heavy_share))
        return replace(result, measured=replace(result.stats, total_ms=took_ms))

    monkeypatch.setattr(HostUpscaler, "_upscale", timed)
    budget_ms = slowness(model.usual_ms(work, 0.5))
    took = [upscaler(image, budget_ms=budget_ms).stats.total_ms for _ in range(20)]
    assert abs(took[0] / budget_ms - 1) > 0.05
    assert took[5:] == pytest.approx([budget_ms] * 15, rel=0.06)
    assert took[15:] == pytest.approx([budget_ms] * 5, rel=0.01)
    fixed = [
        upscaler(image, budget_ms=budget_ms, adaptive_budget=False).stats.total_ms for _ in range(4)
    ]
    assert fixed == [took[0]] * 4


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_nothing_is_learnt_from_cancelled_calls(
    carn_like_bundle: Path, tmp_path: Path, image: Image, backend: str
) -> None:
    key = Upscaler(carn_like_bundle, backend=backend).time_key()
    model = TimeModel(key, COEFFICIENTS, ((1000.0, 1.0),), 1.0)
    upscaler = Upscaler(calibrated(carn_like_bundle, tmp_path / "b", [model]), backend=backend)
    budget_ms = model.safe_ms(upscaler.work(SIZE, 4), 0.5)
    with upscaler._open.used() as now:
        feedback = now.planner.feedback
    for _ in range(6):
        with pytest.raises(CancelledError):
            upscaler(
                image,
                budget_ms=budget_ms,
                adaptive_budget=True,
                cancellation=Cancellation(timeout_s=0),
            )
    assert not feedback.has_learnt
    for _ in range(3):
        upscaler(image, budget_ms=budget_ms, adaptive_budget=True)
    assert feedback.has_learnt


def test_a_budget_that_cannot_be_held_any_more_is_missed_with_a_warning(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    upscaler = Upscaler(bundle)
    default = RoutingRequest(adaptive_budget=True)
    planner = Planner(upscaler.bundle, default, upscaler.work, upscaler.time_key)
    budget_ms = model_of(upscaler).safe_ms(upscaler.work(SIZE, 4), 0.5)
    request = planner.completed(RoutingRequest(budget_ms=budget_ms), 4)
    for _ in range(6):
        planner.feedback.expect("shape", 1.0, lambda: 10.0)
    caplog.set_level(logging.WARNING, "pcsr")
    shares = [planner.resolve(request, 4, SIZE).request.heavy_ratio for _ in range(3)]
    assert shares == [0, 0, 0]
    (warned,) = (record.getMessage() for record in caplog.records if record.name == "pcsr.routing")
    assert "the least time is" in warned


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "two": ({"preset": "fast", "budget_ms": 9.0}, "preset and budget_ms exclude each other"),
    "k": ({"k": 1.0, "max_psnr_loss_db": 0.1}, "k and max_psnr_loss_db exclude each other"),
    "adm": ({"adaptive": True, "preset": "fast"}, "adaptive and preset exclude each other"),
    "ratio": ({"heavy_ratio": 0.0, "budget_ms": 5}, "heavy_ratio and budget_ms exclude"),
    "unknown": ({"preset": "slow"}, "no preset 'slow' .*quality, balanced, fast"),
    "zero": ({"budget_ms": 0}, "budget_ms must be .* above 0, found 0"),
    "nan": ({"budget_ms": float("nan")}, "budget_ms must be .* above 0, found nan"),
    "negative": ({"max_psnr_loss_db": -0.1}, "max_psnr_loss_db must be .* found -0.1"),
    "alone": ({"adaptive_budget": True}, "adaptive_budget needs budget_ms"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_together_is_refused(bundle: Path, image: Image, case: str) -> None:
    options, message = REFUSED[case]
    with pytest.raises(UsageError, match=message):
        Upscaler(bundle)(image, **options)


@pytest.mark.parametrize("wish", [{"preset": "fast"}, {"budget_ms": 9}, {"max_psnr_loss_db": 1}])
def test_a_bundle_without_calibration_names_the_command(
    carn_like_bundle: Path, plain_bundle: Path, wish: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="no operating point; run pcsr-calibrate operating-point"):
        Upscaler(carn_like_bundle, **wish)
    with pytest.raises(UsageError, match="nothing to route"):
        Upscaler(plain_bundle, **wish)


def test_times_of_another_machine_do_not_count(
    carn_like_bundle: Path,
    tmp_path: Path,
    image: Image,
) -> None:
    key = replace(Upscaler(carn_like_bundle).time_key(), machine="another")
    own = Upscaler(carn_like_bundle).time_key()
    model = TimeModel(key, COEFFICIENTS, ((1000.0, 1.0),), 1.0)
    other = calibrated(carn_like_bundle, tmp_path / "other", [model])
    with pytest.raises(UsageError, match=r"no times for cpu .*it has: cpu \(another\).*calibrate"):
        Upscaler(other)(image, budget_ms=5)
    Upscaler(other, preset="fast")(image)
    both = [model, slower(replace(model, key=own), 2)]
    upscaler = Upscaler(calibrated(carn_like_bundle, tmp_path / "both", both), threads=own.threads)
    budget_ms = both[1].safe_ms(upscaler.work(SIZE, 4), 0.3)
    share = upscaler(image, budget_ms=budget_ms).stats.heavy_share
    assert share == pytest.approx(0.3, abs=2e-3)
    with pytest.raises(UsageError, match="no times for"):
        Upscaler(other, threads=own.threads + 1, budget_ms=5)


@pytest.mark.parametrize("damage", [{"format_version": 9}, {"times": [{}]}, {"points": []}])
def test_a_damaged_operating_point_is_said(bundle: Path, damage: dict[str, Any]) -> None:
    data = Upscaler(bundle).bundle.calibration("operating_point")
    assert data is not None
    write(bundle, data | damage)
    with pytest.raises(BundleError, match=r"operating point of .* is damaged"):
        Upscaler(bundle, preset="fast")
