"""The command on tiny networks: measures, prints, records, and goes on where it was."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks import bench
from benchmarks.cpu import group
from benchmarks.networks import bundle_name

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def weights(
    tmp_path_factory: pytest.TempPathFactory, carn_like_bundle: Path, plain_bundle: Path
) -> Path:
    """A folder of tiny checkpoints under the published names; their bundles in `cache`, in it."""
    folder = tmp_path_factory.mktemp("weights")
    made = {"carn-pcsr.pth": carn_like_bundle, "carn-x4.pth": plain_bundle}
    for name, bundle in made.items():
        shutil.copy(bundle.with_name("network.pth"), folder / name)
        shutil.copytree(bundle, folder / "cache" / bundle_name(folder / name))
    return folder


@pytest.fixture
def run(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command on them."""
    monkeypatch.setattr(bench, "pin", lambda threads: None)  # would hold all tests to two cores
    monkeypatch.setattr(group, "sgemm_gflops", lambda threads: 100.0)

    def command(*args: str) -> Result:
        folders = ["--checkpoints", weights, "--cache", weights / "cache", "--output", tmp_path]
        small = ["--model", "carn", "--size", "24x32", "--rounds", "2", "--no-eager"]
        return CliRunner().invoke(bench.main, [*small, *map(str, folders), *args])

    return command


def test_it_measures_and_records_every_contender_once(run: Command, tmp_path: Path) -> None:
    ended = run()
    assert ended.exit_code == 0, ended.output
    records = [json.loads(line) for line in (tmp_path / "bench.jsonl").read_text().splitlines()]
    assert [r["contender"] for r in records] == [
        "pcsr-k0",
        "pcsr-adm",
        "pcsr-heavy20",
        "pcsr-heavy",
        "pcsr-light",
        "single-file-k0",
        "single-file-adm",
        "plain-ort",
        "bicubic",
        "span-ort",
        "plain-openvino-fp32",
        "span-openvino-fp32",
    ]
    for r in records:
        assert r["error"] is None
        assert r["label"] in ended.stdout
        assert len(r["times_ms"]) == 2
        assert r["time_over_plain"] > 0
        assert r["environment"]["versions"]["onnxruntime"]
    assert [r["heavy_share"] for r in records[3:6]] == [1, 0, None]
    again = run()
    assert again.stdout == ended.stdout
    assert "in bench.jsonl already" in again.stderr
    assert len((tmp_path / "bench.jsonl").read_text().splitlines()) == len(records)


def test_a_size_that_is_none_is_refused(run: Command) -> None:
    ended = run("--size", "huge")
    assert ended.exit_code == 2
    assert "unknown size 'huge'" in ended.stderr


def test_a_failure_of_ours_is_a_row_and_an_exit_status(
    run: Command, weights: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(weights / "cache", cache)
    file = cache / bundle_name(weights / "carn-pcsr.pth") / "fp32" / "mlps.npz"
    file.write_bytes(b"damaged")
    ended = run("--cache", str(cache))
    assert ended.exit_code == 1
    assert ended.stderr.count("error: carn 24x32, pcsr") == 5
    shown = [line.split() for line in ended.stdout.splitlines()]
    assert ["pcsr,", "k", "=", "0", "failed"] in shown
    assert any(row[:1] == ["plain"] and "1.000" in row for row in shown)
    records = [json.loads(line) for line in (tmp_path / "bench.jsonl").read_text().splitlines()]
    assert "is damaged" in records[0]["error"]
