"""pcsr-export --single-file: what it writes and refuses."""

import os
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest

from pcsr.errors import VerificationError
from pcsr.export.single_file import verify
from pcsr.export.single_file.file import SingleFileOptions, export_single_file
from pcsr.single_file import SingleFile
from tests import checkpoints
from tests.commands import assert_clean, assert_refused, end, export, snapshot, start

FACTS = {"kind", "backbone", "scale", "form", "routing", "refine", "precision", "version"}
FACTS |= {"receptive_radius_px", "checkpoint_sha256"}


def facts(file: Path) -> dict[str, str]:
    model = onnx.load(file)
    return {entry.key.removeprefix("pcsr."): entry.value for entry in model.metadata_props}


def test_one_file_alone_or_beside_its_bundle(pcsr_ckpt: Path, tmp_path: Path) -> None:
    file = tmp_path / "fsrcnn.onnx"
    ended = export("--ckpt", pcsr_ckpt, "--single-file", file, "--k", 0.5)
    assert ended.code == 0, ended.stderr
    assert ended.complaints == []
    assert_clean(ended)
    assert os.listdir(tmp_path) == ["fsrcnn.onnx"]
    assert "compared with the bundle" in ended.stdout
    assert "(sparse, x4, k = 0.5, fp32, all 3 comparisons passed)" in ended.stdout
    found = facts(file)
    assert set(found) == FACTS
    assert (found["form"], found["routing"]) == ("sparse", "k")
    assert SingleFile.load(file).routing == "k=0.5"
    both = ("-o", tmp_path / "bundle", "--single-file", file, "--adaptive", "--form", "dense")
    ended = export("--ckpt", pcsr_ckpt, *both, "--scale", 2, "--no-refine", "--overwrite")
    assert ended.code == 0, ended.stderr
    assert sorted(os.listdir(tmp_path)) == ["bundle", "fsrcnn.onnx"]
    found = facts(file)
    assert (found["form"], found["routing"], found["refine"]) == ("dense", "adaptive", "false")
    assert found["scale"] == "2"


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (["--single-file", "x.onnx", "--form", "dense", "--scale", "2.5"], "whole scales alone"),
        (["--single-file", "x.onnx", "--precision", "bf16"], "fp32 or fp16, found 'bf16'"),
        (["--single-file", "x.onnx", "--precision", "fp32,fp16"], "takes one --precision"),
        (["--single-file", "x.onnx", "--k", "1", "--adaptive"], "k is not used with adaptive"),
        (["--single-file", "x.onnx", "--scale", "0.5"], "scale must be a number from 1"),
        (["--single-file", "x.pt"], "ends in .onnx"),
        (["-o", "bundle", "--k", "1"], "--k is for --single-file alone"),
        (["-o", "bundle", "--form", "dense"], "--form is for --single-file alone"),
        ([], "Missing option '-o'"),
        (["-o", "x.onnx", "--single-file", "x.onnx"], "-o and --single-file are both x.onnx"),
        (["-o", "./x.onnx", "--single-file", "x.onnx"], "-o and --single-file are both x.onnx"),
    ],
)
def test_refused(
    options: list[str],
    pattern: str,
    pcsr_ckpt: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(export("--ckpt", pcsr_ckpt, *options), 2, pattern)
    assert os.listdir(tmp_path) == []


def test_a_file_that_exists_stays(pcsr_ckpt: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.onnx"
    file.write_text("mine")
    assert_refused(export("--ckpt", pcsr_ckpt, "--single-file", file), 1, "exists")
    assert file.read_text() == "mine"
    other = tmp_path / "missing" / "x.onnx"
    assert_refused(export("--ckpt", pcsr_ckpt, "--single-file", other), 1, "is not a directory")


def test_nothing_appears_where_the_graph_differs(
    carn_like_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verify._run
    monkeypatch.setattr(verify, "_run", lambda *args: real(*args) + np.float32(1e-3))
    before = snapshot(tmp_path)
    pattern = r"with the bundle failed, first single file .* no single file was written"
    with pytest.raises(VerificationError, match=pattern):
        export_single_file(carn_like_bundle, tmp_path / "x.onnx", SingleFileOptions())
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("option", [{"k": 0.5}, {"adaptive": True}])
def test_a_network_without_routing_refuses_it(
    plain_bundle: Path, single_bundle: Path, option: dict[str, float], tmp_path: Path
) -> None:
    from pcsr.errors import UsageError

    for bundle in (plain_bundle, single_bundle):
        options = SingleFileOptions(**option)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=r"without routing|nothing to route"):
            export_single_file(bundle, tmp_path / "x.onnx", options)


@pytest.mark.parametrize("option", [("--scale", 2), ("--k", 0.5), ("--adaptive",)], ids=str)
def test_refusals_name_the_checkpoint(option: tuple[object, ...], tmp_path: Path) -> None:
    ckpt = checkpoints.save(checkpoints.plain_checkpoint("fsrcnn"), tmp_path / "plain.pth")
    ended = export("--ckpt", ckpt, "--single-file", tmp_path / "x.onnx", *option)
    assert_refused(ended, 2, r"plain\.pth is a plain network")
    assert os.listdir(tmp_path) == ["plain.pth"]


def test_a_plain_network_says_that_it_is_one(plain_bundle: Path, tmp_path: Path) -> None:
    written = export_single_file(plain_bundle, tmp_path / "x.onnx", SingleFileOptions())
    assert "wrote" in written.report
    found = facts(tmp_path / "x.onnx")
    assert (found["kind"], found["form"], found["routing"]) == ("plain", "plain", "none")


def test_ctrl_c_leaves_nothing(pcsr_ckpt: Path, tmp_path: Path) -> None:
    process = start("pcsr-export", "--ckpt", pcsr_ckpt, "--single-file", tmp_path / "x.onnx")
    assert process.stderr is not None
    for line in process.stderr:
        if "comparing the file" in line:
            process.send_signal(signal.SIGINT)
            break
    else:
        pytest.fail("it never came to the comparison")
    assert end(process).code == 130
    assert snapshot(tmp_path) == {}
