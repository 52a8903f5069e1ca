"""The command: refusals before anything is measured, outputs whole or not at all."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pcsr.runtime.profiler import profile as profiling
from pcsr.runtime.profiler.measuring.monitor import Monitor
from tests.commands import assert_refused, profile, snapshot
from tests.runtime.routing.calibrations import calibrated

QUICK = ("--warmup", 0, "--duration", 1e-6, "--iterations", 2, "--size", "16x12")


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test where a measurement begins."""

    def begun(*arguments: Any) -> None:  # noqa: ANN401
        raise AssertionError("it measures")

    monkeypatch.setattr(profiling, "measure_cases", begun)
    monkeypatch.setattr(profiling, "_ceilings", begun)


@pytest.mark.parametrize(
    ("options", "code", "pattern"),
    [
        (("--size", "12,16"), 2, r"unknown size '12,16'; expected WIDTHxHEIGHT"),
        (("--size", "0x16"), 2, r"unknown size '0x16'"),
        (("--size", "99999x99999"), 1, r"an input of 99999x99999 has more than"),
        (
            ("--size", "100x100", "--scale", 200),
            1,
            r"an output of 20000x20000 has more than 16 times",
        ),
        (("--size", "200x200", "--max-pixels", 1000), 1, r"more than --max-pixels \(1000\)"),
        (("--scale", 0.5), 2, r"scale must be a number from 1 to 1000, found 0\.5"),
        (("--scale", 900, "--size", "2000x2000"), 2, r"choose a smaller scale"),
        (("--duration", 0), 2, r"--duration must be more than 0"),
        (("--duration", "nan"), 2, r"--duration must be more than 0"),
        (("--iterations", 0), 2, r"--iterations must be at least 1"),
        (("--warmup", -1), 2, r"--warmup must be at least 0"),
        (("--percentiles", "50,100"), 2, r"a percentile lies between 0 and 100"),
        (("--percentiles", "half"), 2, r"unknown percentiles 'half'"),
        (("--heavy-ratio", 1.5), 2, r"heavy_ratio must lie in \[0, 1\]"),
        (("--k", "nan"), 2, r"k must be a number"),
        (("--precision", "fp16"), 2, r"has no fp16 graphs"),
        (("--backend", "magic"), 2, r"unknown backend 'magic'"),
        (("--device", "cuda"), 3, r"cuda"),
        (("--image", "nowhere.png"), 2, r"cannot open nowhere\.png"),
        (("--hr", "nowhere.png", "--size", "8x8"), 2, r"--hr brings its own pictures"),
        (("--size", "8x8", "--size", "8x8"), 2, r"two cases would be called '.*k=0, 8x8'"),
        (("--trace", "-"), 2, r"only --json goes to stdout"),
        (("--json", "nowhere/a.json"), 1, r"there is no folder nowhere"),
    ],
)
def test_refusals(
    unmeasured: None, carn_like_bundle: Path, options: tuple[object, ...], code: int, pattern: str
) -> None:
    assert_refused(profile(carn_like_bundle, *options), code, pattern)


def test_bundles_that_do_not_fit(
    unmeasured: None, carn_like_bundle: Path, plain_bundle: Path, tmp_path: Path
) -> None:
    assert_refused(profile(tmp_path / "none"), 2, "is not a bundle")
    assert_refused(profile(plain_bundle, "--k", 0), 2, "nothing to route: leave out --k")
    ended = profile(carn_like_bundle, "--baseline", carn_like_bundle)
    assert_refused(ended, 2, "is no plain network")
    ended = profile(carn_like_bundle, "--baseline", plain_bundle, "--scale", 2)
    assert_refused(ended, 2, "a plain network that upscales by 4 only")


def test_what_a_calibration_lacks(unmeasured: None, carn_like_bundle: Path, tmp_path: Path) -> None:
    for option in (("--preset", "fast"), ("--budget-ms", 9)):
        ended = profile(carn_like_bundle, *option)
        assert_refused(ended, 2, "run pcsr-calibrate operating-point")
    bundle = calibrated(carn_like_bundle, tmp_path / "calibrated")
    assert_refused(profile(bundle, "--preset", "slow"), 2, "no preset 'slow'")
    assert_refused(profile(bundle, "--budget-ms", 1e-6), 2, "the least time is")


def test_a_damaged_bundle(unmeasured: None, carn_like_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(carn_like_bundle, bundle)
    graph = bundle / "fp32" / "backbone.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    assert_refused(profile(bundle), 2, r"backbone\.onnx is damaged: sha256")


@pytest.mark.parametrize("output", ["--json", "--trace", "--report"])
def test_an_existing_output_stays(
    unmeasured: None, carn_like_bundle: Path, tmp_path: Path, output: str
) -> None:
    (tmp_path / "out").write_text("mine")
    ended = profile(carn_like_bundle, output, tmp_path / "out")
    assert_refused(ended, 1, "exists; pass --overwrite")
    assert snapshot(tmp_path) == {"out": b"mine"}


def test_two_outputs_of_one_name(unmeasured: None, carn_like_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "out"
    ended = profile(carn_like_bundle, "--json", file, "--trace", file)
    assert_refused(ended, 2, "is named for two outputs")


def test_outputs(quick: None, carn_like_bundle: Path, plain_bundle: Path, tmp_path: Path) -> None:
    json_file, trace = tmp_path / "p.json", tmp_path / "t.json"
    json_file.write_text("old")
    outputs = ("--json", json_file, "--trace", trace, "--overwrite")
    ended = profile(carn_like_bundle, "--baseline", plain_bundle, *QUICK, *outputs)
    assert (ended.code, ended.stderr) == (0, "")
    assert "16x12 -> 64x48" in ended.stdout
    found = json.loads(json_file.read_text())
    assert [case["kind"] for case in found["cases"]] == ["pcsr", "plain"]
    assert found["plan"]["iterations"] == 2
    assert {e["pid"] for e in json.loads(trace.read_text())["traceEvents"]} == {1, 2}


def test_json_alone_on_stdout(quick: None, carn_like_bundle: Path) -> None:
    ended = profile(carn_like_bundle, *QUICK, "--size", "8x8", "--json", "-")
    found = json.loads(ended.stdout)
    assert [case["lr_size"] for case in found["cases"]] == [[12, 16], [8, 8]]
    assert all(case["switch_ms"] > 0 for case in found["cases"])


def test_an_interruption_leaves_nothing(
    quick: None, carn_like_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ticks() -> Iterator[None]:
        yield
        raise KeyboardInterrupt

    rounds = ticks()
    monkeypatch.setattr(Monitor, "tick", lambda self: next(rounds))
    outputs = ("--json", tmp_path / "p.json", "--trace", tmp_path / "t.json")
    ended = profile(carn_like_bundle, *QUICK, *outputs)
    assert ended.code == 130
    assert ended.complaints == ["interrupted; nothing half-written was left behind"]
    assert snapshot(tmp_path) == {}
