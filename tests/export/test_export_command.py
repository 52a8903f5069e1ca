"""pcsr-export: its options, what it leaves alone, and that a failure leaves nothing behind."""

import json
import os
from pathlib import Path
from typing import Any

import onnx
import pytest

from pcsr.bundle import Bundle
from pcsr.errors import VerificationError
from pcsr.export import exporter
from pcsr.export.graphs import onnx_graph
from tests import checkpoints
from tests.commands import Ended, assert_clean, assert_refused, end, export, snapshot, start

PUBLISHED_CONFIG = """
train_dataset:
  wrapper:
    name: sr-implicit-downsampled
    args: {inp_size: 32, scale: [2, 3], augment: [hflip]}
data_norm:
  mean: [0.4488, 0.4371, 0.4040]
  std : [0.5, 0.25, 1.0]
model: {name: pcsr-phase0}
"""


@pytest.fixture(scope="module")
def plain_ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One graph: the quickest to export."""
    data = checkpoints.plain_checkpoint("fsrcnn")
    return checkpoints.save(data, tmp_path_factory.mktemp("plain") / "fsrcnn.pth")


@pytest.fixture(scope="module")
def one_way_ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two graphs, of the kind whose trained scale is the config's."""
    data = checkpoints.pcsr_checkpoint(checkpoints.pcsr_network("fsrcnn", 1), "fsrcnn")
    return checkpoints.save(data, tmp_path_factory.mktemp("one") / "fsrcnn.pth")


def assert_exported(ended: Ended) -> None:
    assert ended.code == 0, ended.stderr
    assert ended.complaints == []
    assert_clean(ended)


# What it does


def test_json_is_the_manifest_and_nothing_else(plain_ckpt: Path, tmp_path: Path) -> None:
    ended = export("--ckpt", plain_ckpt, "-o", tmp_path / "b", "--opset", 18, "--json", "-")
    assert_exported(ended)
    manifest = json.loads(ended.stdout)
    assert manifest == json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["opset"] == 18
    assert os.listdir(tmp_path) == ["b"]


def test_published_config_is_honoured(one_way_ckpt: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(PUBLISHED_CONFIG)
    output = tmp_path / "bundle"
    ended = export("--ckpt", one_way_ckpt, "-o", output, "--config", config, "--std", 1, 2, 4)
    assert_exported(ended)
    manifest = Bundle.load(output).manifest
    assert manifest.model.mean == (0.4488, 0.4371, 0.404)
    assert manifest.model.std == (1, 2, 4), "an option goes before the config"
    assert manifest.trained_scale == 3
    assert "pipeline" in ended.stdout


# Options


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (["--mean", 1, 2], "--mean|'2'|'-o'|3 arguments"),
        (["--mean", "a", 0, 0], "'a' is not a valid float"),
        (["--mean", "nan", 0, 0], "mean .*nan"),
        (["--mean", "inf", 0, 0], "mean .*inf"),
        (["--std", 0, 1, 1], "std must be positive, found .*0.0"),
        (["--std", -1, 1, 1], "std must be positive, found .*-1.0"),
        (["--std", "nan", 1, 1], "std .*nan"),
        (["--std", "inf", 1, 1], "std .*inf"),
        (["--opset", 17], "17 is not in the range"),
        (["--opset", 99], "99 is not in the range"),
        (["--opset", "x"], "'x' is not a valid integer"),
        (["--precision", "fp8"], r"unknown precision 'fp8' \(known: fp32, fp16, bf16\)"),
        (["--precision", "fp16,"], "unknown precision ''"),
        (["--precision", "fp16;bf16"], "unknown precision 'fp16;bf16'"),
        (["--config", "none.yaml"], "none.yaml cannot be read"),
        (["--config", "."], "cannot be read"),
        (["--no-such-option"], "No such option"),
    ],
    ids=lambda value: "-".join(map(str, value)).strip("-") if isinstance(value, list) else "",
)
def test_options_out_of_range(
    options: list[Any], pattern: str, plain_ckpt: Path, tmp_path: Path
) -> None:
    ended = export("--ckpt", plain_ckpt, "-o", tmp_path / "bundle", *options)
    assert_refused(ended, 2, pattern)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("missing", ["--ckpt", "-o"])
def test_required_options(missing: str, tmp_path: Path) -> None:
    given = {"--ckpt": tmp_path / "a.pth", "-o": tmp_path / "b"}
    given.pop(missing)
    ended = export(*[word for pair in given.items() for word in pair])
    assert_refused(ended, 2, f"Missing option '{missing}'")


CONFIGS = {
    "empty": "",
    "text": "hello",
    "list": "[1, 2]",
    "broken": "a: [1, 2\nb: 3",
    "binary": "\0\1",
    "code": "!!python/object/apply:os.system ['touch it-ran']",
    "two-numbers": "data_norm: {mean: [1, 2]}",
    "no-numbers": "data_norm: {mean: [a, b, c]}",
    "nan": "data_norm: {mean: [.nan, 0, 0]}",
    "zero-std": "data_norm: {std: [0, 1, 1]}",
    "norm-list": "data_norm: [1, 2, 3]",
    "scale-text": "scale: big",
    "scale-nan": "scale: .nan",
    "scale-zero": "scale: 0",
    "scale-negative": "scale: -2",
    "scale-below-1": "scale: 0.5",
    "scale-infinite": "scale: .inf",
    "scale-huge": "scale: 1000000000",
}


@pytest.mark.parametrize("case", CONFIGS)
def test_malformed_config(
    case: str, one_way_ckpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(CONFIGS[case])
    before = snapshot(tmp_path)
    ended = export("--ckpt", one_way_ckpt, "-o", "bundle", "--config", "config.yaml")
    what = {"scale": "scale", "zero": "std", "nan": "mean"}.get(case.split("-")[0], "config.yaml")
    assert_refused(ended, 2, what)
    assert snapshot(tmp_path) == before


# Outputs that are there already


def test_existing_bundle_needs_overwrite(plain_ckpt: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    assert_exported(export("--ckpt", plain_ckpt, "-o", output))
    (output / "engines").mkdir()
    before = snapshot(tmp_path)
    assert_refused(export("--ckpt", plain_ckpt, "-o", output), 1, "exists.*--overwrite")
    assert snapshot(tmp_path) == before
    assert_exported(export("--ckpt", plain_ckpt, "-o", output, "--overwrite"))
    files = ["fp32", "fp32/network.onnx", "manifest.json", "verification.npz"]
    assert sorted(snapshot(output)) == files
    assert os.listdir(tmp_path) == ["bundle"]


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
@pytest.mark.parametrize("kind", ["file", "folder", "foreign-manifest"])
def test_what_is_no_bundle_is_left_alone(
    kind: str, options: list[str], plain_ckpt: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    if kind == "file":
        output.write_text("precious")
    else:
        output.mkdir()
        name = "manifest.json" if kind == "foreign-manifest" else "precious.txt"
        (output / name).write_text('{"format": "other"}')
    before = snapshot(tmp_path)
    ended = export("--ckpt", plain_ckpt, "-o", output, *options)
    assert_refused(ended, 1, "exists and is not a bundle.*choose another")
    assert snapshot(tmp_path) == before


def test_empty_folder_is_used(plain_ckpt: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    assert_exported(export("--ckpt", plain_ckpt, "-o", tmp_path / "bundle"))
    assert Bundle.load(tmp_path / "bundle").kind == "plain"


def test_missing_parent(plain_ckpt: Path, tmp_path: Path) -> None:
    ended = export("--ckpt", plain_ckpt, "-o", tmp_path / "no" / "bundle")
    assert_refused(ended, 1, "cannot write .*create it first")
    assert os.listdir(tmp_path) == []


def test_name_too_long(plain_ckpt: Path, tmp_path: Path) -> None:
    assert_refused(export("--ckpt", plain_ckpt, "-o", tmp_path / ("b" * 300)), 1, "cannot write")
    assert os.listdir(tmp_path) == []


# Failures half-way


@pytest.fixture
def existing(plain_bundle: Path, tmp_path: Path) -> Path:
    """A bundle whose replacement will fail."""
    output = tmp_path / "bundle"
    for name, content in snapshot(plain_bundle).items():
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if content is None else path.write_bytes(content)
    return output


def test_failed_verification_leaves_the_old_bundle(
    existing: Path, plain_ckpt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise VerificationError("the graphs differ; nothing was written")

    monkeypatch.setattr(exporter, "verify_bundle", fail)
    before = snapshot(existing.parent)
    assert_refused(export("--ckpt", plain_ckpt, "-o", existing, "--overwrite"), 1, "differ")
    assert_refused(export("--ckpt", plain_ckpt, "-o", existing.with_name("new")), 1, "differ")
    assert snapshot(existing.parent) == before


def test_a_corrupt_weight_is_found_and_the_old_bundle_kept(
    existing: Path, plain_ckpt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = onnx_graph.export_graph

    def corrupt(*args: Any) -> onnx.ModelProto:  # noqa: ANN401
        model = honest(*args)
        tensor = model.graph.initializer[-1]
        values = onnx.numpy_helper.to_array(tensor).copy()
        values.flat[0] += 0.1
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        return model

    monkeypatch.setattr(exporter, "export_graph", corrupt)
    before = snapshot(existing.parent)
    ended = export("--ckpt", plain_ckpt, "-o", existing, "--overwrite")
    assert_refused(ended, 1, r"comparisons with PyTorch failed.*allowed.*nothing was written")
    assert snapshot(existing.parent) == before


def test_a_full_disk_leaves_the_old_bundle(
    existing: Path, plain_ckpt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporter, "_write_manifest", full)
    before = snapshot(existing.parent)
    ended = export("--ckpt", plain_ckpt, "-o", existing, "--overwrite")
    assert_refused(ended, 1, "cannot write .*No space left")
    assert snapshot(existing.parent) == before


def test_interrupted_while_writing(
    existing: Path, plain_ckpt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporter, "verify_bundle", interrupt)
    before = snapshot(existing.parent)
    ended = export("--ckpt", plain_ckpt, "-o", existing, "--overwrite")
    assert ended.code == 130
    assert "interrupted" in ended.stderr
    assert snapshot(existing.parent) == before


def test_as_a_process_it_is_quiet(tmp_path: Path) -> None:
    ended = end(start("pcsr-export", "--ckpt", tmp_path / "none.pth", "-o", tmp_path / "bundle"))
    assert_refused(ended, 2, "none.pth does not exist")
