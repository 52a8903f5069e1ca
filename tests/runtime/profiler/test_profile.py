"""Real calls of tiny networks: stages, sums, traces."""

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr.runtime.cpu.composing import finishing
from pcsr.runtime.cpu.native_pipeline import NativePipeline
from pcsr.runtime.cpu.passes import PixelPasses
from pcsr.runtime.profiler.cases import Choices
from pcsr.runtime.profiler.measuring.stability import UNACCOUNTED
from pcsr.runtime.profiler.plan import MeasurementPlan
from pcsr.runtime.profiler.profile import SAMPLE, Prepared, measure, prepare
from pcsr.runtime.profiler.record import Profile
from pcsr.runtime.profiler.table import WIDTH, format_profile
from pcsr.runtime.profiler.trace import record_calls, trace_json
from pcsr.runtime.routing.time_model import TimeModel
from pcsr.runtime.upscaler import Upscaler
from tests.runtime.routing.calibrations import COEFFICIENTS, PRESETS, calibrated

from .conftest import FIRST

PLAN = MeasurementPlan(warmup_ms=0, duration_s=1e-9, iterations=5)
SLEEP_MS = 40.0


def silent(text: str) -> None:
    pass


def prepared(bundle: Path, size: tuple[int, int] = (24, 32), **choices: Any) -> Prepared:  # noqa: ANN401
    return prepare(Choices([bundle], threads=2, sizes=[size], **choices), silent)


@pytest.fixture
def profile(quick: None, carn_like_bundle: Path, plain_bundle: Path) -> Profile:
    ready = prepared(carn_like_bundle, baseline=plain_bundle, k=(0.0, 2.0), adaptive=True)
    return measure(ready, PLAN)


def test_every_mode_and_the_baseline_are_cases(profile: Profile) -> None:
    names = [case.name for case in profile.cases]
    assert [name.split(", ", 1)[1] for name in names] == [
        "k=0, 32x24",
        "k=2, 32x24",
        "ADM, 32x24",
        "32x24",
    ]
    ours, plain = profile.cases[0], profile.cases[-1]
    assert plain.is_baseline
    assert plain.over_baseline == 1
    assert ours.over_baseline is not None
    assert sum(ours.pixels_per_upsampler) == 96 * 128
    assert ours.heavy_share == ours.pixels_per_upsampler[0] / (96 * 128)
    assert (ours.first_ms, ours.open_ms, ours.peak_mib) == (7.0, 30.0, FIRST.peak_mib)
    assert ours.switch_ms is None
    assert ours.device_ms is None
    assert len(ours.times_ms) == ours.host_ms.samples == 5
    assert SAMPLE in profile.warnings


def test_presets_and_budgets_are_cases(quick: None, carn_like_bundle: Path, tmp_path: Path) -> None:
    upscaler = Upscaler(carn_like_bundle, threads=2)
    model = TimeModel(upscaler.time_key(), COEFFICIENTS, ((1000.0, 1.0),), 1.0)
    budgets_ms = (1e6, model.safe_ms(upscaler.work((24, 32), 4), 0.3))
    bundle = calibrated(carn_like_bundle, tmp_path / "calibrated", [model])
    ready = prepared(bundle, preset=("fast",), budget_ms=budgets_ms)
    assert [spec.request.k for spec in ready.specs] == [0, PRESETS["fast"], None, None]
    ratios = [spec.request.heavy_ratio for spec in ready.specs[2:]]
    assert ratios == [1, pytest.approx(0.3, abs=0.01)]
    cases = measure(ready, PLAN).cases
    assert [case.mode for case in cases][:3] == ["k=0", "fast", "1e+06 ms"]
    assert cases[2].heavy_share == 1
    assert cases[3].heavy_share == pytest.approx(0.3, abs=0.01)


def test_the_work_of_stages_is_held_against_the_ceilings(profile: Profile) -> None:
    ours = profile.cases[0]
    stages = {stage.name: stage for stage in ours.stages}
    assert set(stages) >= {"backbone", "classifier", "routing", "upsampler_0", "upsampler_1"}
    assert [stages[f"upsampler_{j}"].pixels for j in (0, 1)] == list(ours.pixels_per_upsampler)
    backbone = stages["backbone"]
    assert backbone.gflop_s is not None
    assert backbone.of_compute == pytest.approx(backbone.gflop_s / 100)
    assert backbone.gb_s is not None
    assert backbone.of_memory == pytest.approx(backbone.gb_s / 10)
    assert stages["prepare"].gflop_s is None
    whole = sum(stage.ms for stage in ours.stages) + ours.unaccounted_ms
    assert whole == pytest.approx(ours.host_ms.mean)


def test_json_holds_all_of_it(profile: Profile) -> None:
    found = json.loads(profile.to_json())
    assert found.pop("format") == "pcsr-profile"
    assert found.pop("format_version") == 1
    assert found == json.loads(json.dumps(asdict(profile)))
    assert found["cases"][0]["host_ms"]["percentiles"].keys() == {"p50", "p90", "p95", "p99"}


def test_the_table_fits_and_tells(profile: Profile) -> None:
    table = format_profile(profile)
    assert max(map(len, table.splitlines())) <= WIDTH
    for word in (
        "(baseline)",
        "upsampler_1",
        "time/base",
        "(no stage)",
        "first call 7.00 ms",
        "ADM",
    ):
        assert word in table


@pytest.mark.parametrize("options", [{}, {"adaptive": True}, {"backends": ("onnxruntime",)}])
def test_stages_add_up_to_the_call(
    quick: None, carn_like_bundle: Path, options: dict[str, Any]
) -> None:
    ready = prepared(carn_like_bundle, (240, 320), **options)
    case = measure(ready, MeasurementPlan(warmup_ms=0, duration_s=1e-9, iterations=3)).cases[0]
    assert abs(case.unaccounted_ms) <= UNACCOUNTED * case.host_ms.mean


def sleeping(work: Callable[..., Any]) -> Callable[..., Any]:
    def slow(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        time.sleep(SLEEP_MS / 1000)
        return work(*arguments, **options)

    return slow


PLACES: dict[str, tuple[Any, str]] = {
    "backbone": (NativePipeline, "encode"),
    "compose": (PixelPasses, "fill"),
    "refinement": (finishing, "finish"),
}


@pytest.mark.parametrize("stage", PLACES)
def test_a_sleep_planted_in_a_stage_shows_up_there_and_only_there(
    quick: None, carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    ready = prepared(carn_like_bundle)  # one chunk of pixels: each place is passed once
    before = {s.name: s.ms for s in measure(ready, PLAN).cases[0].stages}
    place, name = PLACES[stage]
    monkeypatch.setattr(place, name, sleeping(getattr(place, name)))
    case = measure(ready, PLAN).cases[0]
    after = {s.name: s.ms for s in case.stages}
    assert after[stage] >= before[stage] + 0.9 * SLEEP_MS - 5
    for other in set(after) - {stage}:
        assert after[other] < before[other] + SLEEP_MS / 3
    assert case.host_ms.mean >= SLEEP_MS


def test_a_trace_has_a_lane_per_stage(quick: None, carn_like_bundle: Path) -> None:
    ready = prepared(carn_like_bundle, (120, 160), k=(0.0,), adaptive=True)
    trace = json.loads(trace_json(record_calls(ready.specs, ready.bundles)))
    events = trace["traceEvents"]
    assert {event["ph"] for event in events} == {"M", "X"}
    named = {(e["pid"], e["tid"]): e for e in events if e["name"] == "thread_name"}
    order = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_sort_index"}
    assert order == set(named)
    processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert list(processes.values()) == [spec.name for spec in ready.specs]
    spans = [event for event in events if event["ph"] == "X"]
    for pid in processes:  # from the stage that starts first to the one that starts last
        first: dict[str, float] = {}
        for span in (s for s in spans if s["pid"] == pid):
            first[span["name"]] = min(span["ts"], first.get(span["name"], span["ts"]))
        lanes = [
            named[key]["args"]["name"].split(" (")[0] for key in sorted(named) if key[0] == pid
        ]
        assert lanes == sorted(lanes, key=lambda stage: first[stage])
    for span in spans:
        assert all(isinstance(span[key], int) for key in ("pid", "tid"))
        assert span["ts"] >= 0 <= span["dur"]
        assert named[span["pid"], span["tid"]]["args"]["name"].startswith(span["name"])
    for pid in processes:
        own = [s for s in spans if s["pid"] == pid]
        assert {s["name"] for s in own} >= {"backbone", "classifier", "upsampler_0", "refinement"}
        assert sum(s["name"] == "backbone" for s in own) == 3
        for tid in {s["tid"] for s in own}:  # in one lane nothing overlaps
            lane = sorted((s["ts"], s["ts"] + s["dur"]) for s in own if s["tid"] == tid)
            assert all(a[1] <= b[0] + 1e-3 for a, b in itertools.pairwise(lane))


def test_originals_give_psnr(quick: None, carn_like_bundle: Path, tmp_path: Path) -> None:
    from pcsr import images

    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    images.write(images.Picture(pixels), tmp_path / "a.png")
    ready = prepare(Choices([carn_like_bundle], originals=[tmp_path]), silent)
    profile = measure(ready, PLAN)
    case = profile.cases[0]
    assert case.psnr_db is not None
    assert 5 < case.psnr_db < 30
    assert (case.lr_size, case.picture) == ((12, 16), "a.png")
    assert SAMPLE not in profile.warnings


def test_sizes_are_filled_with_the_photo(
    quick: None, carn_like_bundle: Path, tmp_path: Path
) -> None:
    from pcsr import images

    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    images.write(images.Picture(pixels), tmp_path / "a.png")
    choices = Choices([carn_like_bundle], sizes=[(10, 4)], images=[tmp_path / "a.png"])
    picture = prepare(choices, silent).specs[0].picture
    assert np.array_equal(picture.pixels, np.concatenate([pixels, pixels[:2]])[:, :4])
