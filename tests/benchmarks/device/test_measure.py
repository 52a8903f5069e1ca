"""Checks and times of tiny networks on the CPU, and what a planted fault does to them."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.callers import Files, Place, open_caller
from benchmarks.contenders import Contender, Implementation, compiled_line_up, whole_line_up
from benchmarks.device import measure as measuring
from benchmarks.device.fidelity import PathResult, check_path
from benchmarks.device.measure import QUICK as EFFORT
from benchmarks.device.measure import DeviceSetting, measure, views
from benchmarks.device.paths import QUICK, Depth, check_model, open_path, upscaler_run
from benchmarks.environment import ROOT
from pcsr.bundle import Bundle
from pcsr.runtime.profiler.measuring.calls import Answer, Details
from pcsr.runtime.profiler.work import stage_work, total_work
from tests import checkpoints
from tests.exports import ALL_PRECISIONS, Exports

CPU = torch.device("cpu")
GRAPHS = Implementation("pcsr", "torch", "graphs", False)
IMAGE = np.arange(6 * 7 * 3, dtype=np.uint8).reshape(6, 7, 3)


def guard(name: str, step: Callable[[], Any]) -> Any:  # noqa: ANN401
    return step()


def setting(files: Files, precision: str = "fp32") -> DeviceSetting:
    return DeviceSetting(files, precision, CPU, guard)


@pytest.fixture(scope="module")
def files(exports: Exports) -> Files:
    """Tiny random networks, exported in all precisions."""
    data = (checkpoints.tiny("fsrcnn"), checkpoints.plain_checkpoint("fsrcnn"))
    bundles = [exports.of(each, ALL_PRECISIONS) for each in data]
    return Files(*map(str, (*bundles, *(bundle.with_name("network.pth") for bundle in bundles))))


def test_every_way_is_checked_and_right_but_where_it_cannot_run(files: Files) -> None:
    records = list(check_model(setting(files), (), QUICK))
    by_path = {record["path"]: record for record in records}
    assert by_path["pcsr, torch, graphs"]["passed"]
    assert by_path["plain, torch, graph"]["passed"]
    assert by_path["published form, eager"]["passed"]
    assert by_path["pcsr, torch, fused, graph"]["error"].startswith("BackendError")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("fault", ["none", "one pixel", "routing", "noise", "nan"])
def test_a_planted_fault_is_found(files: Files, precision: str, fault: str) -> None:
    run = upscaler_run(open_path(GRAPHS, setting(files, precision)))

    def wrong(image: Any, scale: float, options: dict[str, Any]) -> PathResult:  # noqa: ANN401
        found = run(image, scale, options)
        assert found.assignment is not None
        pixels, labels = found.image.copy(), found.assignment.copy()
        if fault == "one pixel":
            pixels[5, 5] += 0.5 if precision == "fp16" else 1e-4
        if fault == "routing":
            labels[:4] = 1 - labels[:4]
        if fault == "noise":
            pixels += np.random.default_rng(0).normal(0, 0.02, pixels.shape).astype(np.float32)
        if fault == "nan":
            pixels[0, 0] = np.nan
        return PathResult(pixels, labels, found.stages)

    vectors = Bundle.load(files.pcsr_bundle).vectors()[:2]
    record = check_path(wrong, vectors, [], precision, CPU, 1, False)
    harmless = fault == "none" or (fault == "routing" and precision == "fp16")
    assert record["passed"] == harmless
    assert bool(record["what_failed"]) != harmless


def test_half_precision_is_judged_by_the_quality_cases(files: Files) -> None:
    depth = Depth(1, vectors=1, odd_cases=0)
    found = check_model(setting(files, "fp16"), (), depth)
    by_path = {record["path"]: record for record in found}
    record = by_path["pcsr, torch, graphs"]
    assert record["passed"]
    assert record["worst_loss_db"] <= 0.01
    assert record["least_psnr_db"] >= 45


def test_a_recording_that_does_not_happen_is_no_fidelity(files: Files) -> None:
    run = upscaler_run(open_path(GRAPHS, setting(files)))
    vectors = Bundle.load(files.pcsr_bundle).vectors()[:1]
    with pytest.raises(RuntimeError, match="was not replayed"):
        check_path(run, vectors, [], "fp32", CPU, 1, True)


def measured(files: Files, contenders: list[Contender], limit_s: float = 60) -> dict[str, Any]:
    found = [*measure(contenders, views(IMAGE), setting(files), EFFORT, limit_s)]
    whole = [record for record in found if not record.get("partial")]
    assert found[-len(whole) :] == whole
    return {record["contender"]: record for record in whole}


def test_contenders_are_timed_and_compared_within_rounds(files: Files) -> None:
    recorded = Implementation("pcsr", "torch", "fused", True)
    modes = [c for c in whole_line_up() if c.implementation != recorded]
    records = measured(files, modes)
    assert records["pcsr, torch, fused, k = 0"]["error"].startswith("BackendError")
    ours = records["pcsr, torch, graphs, 20 % heavy"]
    assert ours["error"] is None
    assert ours["heavy_share"] == pytest.approx(0.2, abs=2e-3)
    assert records["published form, eager, 20 % heavy"]["heavy_share"] == pytest.approx(
        0.2, abs=0.01
    )
    plain = records["plain, torch, graph"]
    expected = [a / b for a, b in zip(ours["times_ms"], plain["times_ms"], strict=True)]
    assert ours["over_plain"] == pytest.approx(np.median(expected))
    assert ours["over_published"] > 0
    assert set(ours["stages"]) >= {"backbone", "classifier", "routing", "upsampler_0", "compose"}
    assert ours["gflop"] > plain["gflop"] * 0 < ours["least_mb"]
    assert records["plain, eager PyTorch"]["device_ms"]["rounds"] == EFFORT.rounds


def test_one_that_fails_in_a_round_ends_alone(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def opener(implementation: Implementation, *_: Any) -> Any:  # noqa: ANN401
        def call(image: Any, options: Any) -> Answer:  # noqa: ANN401
            calls.append(implementation.family)
            if implementation.family == "plain" and calls.count("plain") > 4:
                raise ValueError("broken\nin two lines")
            return Answer(image, lambda: Details((1, 3), 0.5))

        return call

    monkeypatch.setattr(measuring, "open_caller", opener)
    plain = Contender.of(Implementation("plain", "torch"))
    ours = Contender.of(GRAPHS, "ADM", plain.name)
    records = measured(files, [ours, plain])
    assert records[plain.name]["error"] == "ValueError: broken in two lines"
    assert records[ours.name]["error"] is None
    assert records[ours.name]["device_ms"]["rounds"] == EFFORT.rounds


def test_what_there_is_no_time_for_is_skipped(files: Files) -> None:
    record = measured(files, [Contender.of(GRAPHS, "ADM")], limit_s=-1)["pcsr, torch, graphs, ADM"]
    assert record["skipped"]
    assert record["device_ms"] is None


def test_the_images_differ_but_have_the_same_content() -> None:
    images = views(IMAGE)
    assert len({image.tobytes() for image in images}) == len(images) == 3
    assert all(sorted(image.ravel()) == sorted(IMAGE.ravel()) for image in images)


def test_work_adds_up_to_that_of_the_manifest(files: Files) -> None:
    manifest = Bundle.load(files.pcsr_bundle).manifest
    counts = (100, 700)
    stages = stage_work(manifest, "fp16", (5, 10), (20, 40), counts)
    lightest_everywhere = manifest.costs.upsampler_macs[-1] * 100
    expected = 2 * (manifest.costs.macs((5, 10), (20, 40), counts) + lightest_everywhere)
    assert total_work(stages).flops == pytest.approx(expected)
    assert stages["finish"].bytes == 800 * (12 + 1 + 3)
    assert stages["upsampler_0"].flops == 2 * manifest.costs.upsampler_macs[0] * 100
    assert set(stages) >= {"backbone", "dense", "routing"}


BLOCKED = """
import sys
for name in ("pyvips", "cffi", "av"):
    sys.modules[name] = None
sys.argv = ["gpu"]
from benchmarks.device import worker, exporting
from benchmarks import image
import json, pathlib
from pcsr.export.exporter import ExportOptions, export_bundle
pcsr, ckpt, again = sys.stdin.read().splitlines()
import numpy as np, torch
from benchmarks.callers import Files, Place, open_caller
from benchmarks.contenders import Implementation
export_bundle(pathlib.Path(ckpt), pathlib.Path(again), ExportOptions())
files = Files(pcsr, again, "", "")
image = image.sample_image((6, 7))
for one in (Implementation("pcsr", "torch", "graphs"), Implementation("plain", "torch")):
    print(open_caller(one, files, Place())(image, {}).image.shape)
"""


def test_it_needs_neither_pyvips_nor_cffi_nor_av(files: Files, tmp_path: Path) -> None:
    command = [sys.executable, "-c", BLOCKED]
    paths = "\n".join([files.pcsr_bundle, files.plain_ckpt, str(tmp_path / "again")])
    done = subprocess.run(
        command, input=paths, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.splitlines() == ["(24, 28, 3)"] * 2, done.stderr


def test_compiled_networks_are_measured_beside_ours(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    line_up = [c for c in compiled_line_up() if c.implementation.family != "pcsr"]
    for precision in ("fp32", "fp16"):
        found = measure(line_up, views(IMAGE), setting(files, precision), EFFORT, 60)
        records = {r["contender"]: r for r in found if not r.get("partial")}
        assert {r["error"] for r in records.values()} == {None}
        assert all(r["first_ms"] > 0 for r in records.values())
        ours, rival = records["backbone, torch, graph"], records["backbone, torch.compile"]
        assert (ours["ours"], rival["ours"]) == (True, False)
        expected = [a / b for a, b in zip(ours["times_ms"], rival["times_ms"], strict=True)]
        assert ours["over_plain"] == pytest.approx(np.median(expected))


def test_our_backbone_and_the_compiled_one_give_the_same_features(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    ours, rival = (
        open_caller(contender.implementation, files, Place())(IMAGE, {}).image
        for contender in compiled_line_up()[-2:]
    )
    assert ours.shape == rival.shape
    np.testing.assert_allclose(ours, rival, atol=1e-4)
