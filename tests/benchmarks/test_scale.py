"""What a billion images take: each resource's bound, the scarcest decides, times as people say."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.scale.__main__ import main
from benchmarks.scale.arithmetic import (
    GPUS,
    IMAGES,
    Assumed,
    Image,
    bounds,
    duration,
    pixel_costs,
    summary,
)
from benchmarks.scale.measured import CONTENDER, core_s, recorded_ms
from pcsr import UsageError

IMAGE = Image(
    output_mp=10.0,
    decode_core_s=0.01,
    encode_core_s=0.07,
    compute_core_s=5.0,
    compute_gpu_s=0.005,
    read_mb=1.0,
    written_mb=4.0,
)
PLENTY = Assumed(
    network_gb_s=1e9,
    store_gb_s=1e9,
    store_writes_s=1e9,
    batch_ms=1e-9,
    cores_per_gpu=10**6,
    io_threads_per_gpu=10**6,
)


def test_each_resource_allows_so_many_images_a_second() -> None:
    found = bounds(IMAGE, Assumed(cores_per_gpu=16), 9)
    assert found == pytest.approx(
        {
            "GPUs": 9 / 0.005,
            "reading": 9 * 8 / 0.01,
            "writing": 9 * 8 / 0.07,
            "cores": 9 * 16 / 0.08,
            "network": 2 * 3.0 / 0.005,  # 9 GPUs are on two nodes
            "store's bytes": 100 / 0.005,
            "store's files": 3500,
            "driver": 6400,
        }
    )


@pytest.mark.parametrize(
    ("scarce", "name"),
    [
        ({}, "GPUs"),
        ({"cores_per_gpu": 1}, "cores"),
        ({"io_threads_per_gpu": 1}, "writing"),
        ({"network_gb_s": 1e-3}, "network"),
        ({"store_gb_s": 1e-3}, "store's bytes"),
        ({"store_writes_s": 1.0}, "store's files"),
        ({"batch_ms": 1e6}, "driver"),
    ],
)
def test_the_scarcest_resource_decides(scarce: dict[str, Any], name: str) -> None:
    assumed = replace(PLENTY, **scarce)
    made = {row[0]: row[1:] for row in summary(IMAGE, assumed)}
    assert {len(row) for row in made.values()} == {len(GPUS)}
    assert made["bound by"][0] == name
    rate = min(bounds(IMAGE, assumed, 1).values())
    assert made["GPUs at work"][0] == f"{rate / 200:.1%}"
    assert made["a billion images"][0] == duration(IMAGES / rate)
    usd = (3.0 / 3600 / rate + 5e-6) / 10e6 * 1e9
    assert float(made["USD a gigapixel"][0]) == pytest.approx(usd, abs=1e-4)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (60, "1.0 minutes"),
        (7199, "120.0 minutes"),
        (7200, "2.0 hours"),
        (86400 * 3, "3.0 days"),
        (86400 * 729, "729.0 days"),
        (86400 * 730, "2.0 years"),
    ],
)
def test_times_are_written_in_their_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_gigapixel_costs_what_its_stages_do() -> None:
    found = {row[0]: row[1:] for row in pixel_costs(IMAGE, Assumed())}
    assert found["decode"][:2] == ["1", "core s"]
    assert found["compute on an H200"][:2] == ["0.5", "GPU s"]
    assert float(found["compute on an H200"][2]) == pytest.approx(0.5 * 3 / 3600, abs=1e-5)
    assert found["encode, SHA-256"][0] == "7"
    assert found["compute on a CPU instead"][0] == "500"


def test_the_frame_of_the_nearest_size_is_read_from_the_latest_run(tmp_path: Path) -> None:
    def write(run: int, host_ms: float, size: list[int], **other: object) -> None:
        record: dict[str, object] = {
            "kind": "time",
            "model": "carn",
            "contender": CONTENDER,
            "precision": "fp16",
        }
        record |= {"image": "photos", "lr_size": size, "host_ms": {"p50": host_ms}} | other
        with (tmp_path / f"gpu-nvidia-h200-2026-11-27-{run}.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    write(1, 9.0, [540, 960])
    write(2, 3.0, [540, 960])
    write(2, 2.0, [276, 420])
    write(2, 99.0, [276, 420], contender="plain")
    write(2, 98.0, [276, 420], precision="fp32")
    write(2, 97.0, [276, 420], image="noise")
    write(3, 1.0, [540, 960], model="fsrcnn")
    name = "gpu-nvidia-h200-2026-11-27-2"
    assert recorded_ms("carn", 540 * 960, tmp_path) == (3.0, 540 * 960 * 16 / 1e6, name)
    assert recorded_ms("carn", 10**4, tmp_path) == (2.0, 276 * 420 * 16 / 1e6, name)
    with pytest.raises(UsageError, match="has times of srresnet"):
        recorded_ms("srresnet", 10**4, tmp_path)


def test_kept_runs_have_both_models() -> None:
    for model in ("carn", "fsrcnn"):
        ms, megapixels, _ = recorded_ms(model, 640 * 480)
        assert 0.1 < ms / megapixels < 10


def test_the_time_of_a_core_is_that_of_the_work() -> None:
    calls: list[int] = []

    def work() -> int:
        calls.append(math.factorial(20_000))
        return len(calls)

    seconds, result = core_s(work, least=3)
    assert 0 < seconds < 1
    assert result == 4


def test_each_assumption_is_an_option() -> None:
    found = CliRunner().invoke(main, ["--help"])
    assert found.exit_code == 0
    for name in ("--cores-per-gpu", "--store-writes-s", "--batch-images", "--gpu-hour-usd"):
        assert name in found.output
