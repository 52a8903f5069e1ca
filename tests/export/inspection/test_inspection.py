"""pcsr-inspect: what it says of networks of known work, of bundles and of other files."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pcsr.export.inspection.cli import main
from pcsr.export.inspection.report import Inspection, inspect_file
from tests import checkpoints
from tests.commands import Ended, assert_clean, assert_refused, snapshot

from .networks import liif_file, plain_file


def run(*args: object) -> Ended:
    result = CliRunner().invoke(main, [*map(str, args)], catch_exceptions=False)
    return Ended(result.exit_code, result.stdout, result.stderr)


def per_pixel(inputs: int, *widths: int) -> int:
    """Counts an MLP whose first layer reads the row and column of the offset, once folded."""
    return 2 * widths[0] + sum(a * b for a, b in pairwise(widths))


# Shares of published architectures, at x4


@pytest.mark.parametrize(
    ("name", "args", "share"),
    [
        ("srresnet", {"nf": 64, "nb": 16, "upscale": 4}, 0.53),
        ("edsr-baseline", {"scale": 4}, 0.39),
        ("imdn", {"scale": 4}, 0.0),
    ],
)
def test_the_tail_of_plain_networks(
    name: str, args: dict[str, Any], share: float, tmp_path: Path
) -> None:
    found = inspect_file(plain_file(name, tmp_path, **args))
    assert (found.kind, found.architecture, found.scale) == ("plain", name, 4)
    assert round(found.work.tail_share, 2) == share


def test_liif_is_nearly_all_tail(tmp_path: Path) -> None:
    found = inspect_file(liif_file(tmp_path))
    assert (found.kind, found.form) == ("liif", "checkpoint")
    assert round(found.work.tail_share, 2) == 0.95
    assert found.tiling.radius_px == 35  # 34 layers of the backbone and the window of 3x3
    mlp = 580 * 256 + 3 * 256 * 256 + 256 * 3
    assert found.work.tail_macs == 16 * 4 * mlp
    exact = 9 * 64 * 256 + 16 * 4 * per_pixel(0, 256, 256, 256, 256, 3)
    assert found.speedup.exact_bundle == pytest.approx(
        (found.work.backbone_macs + 64 * mlp) / (found.work.backbone_macs + exact)
    )
    assert found.speedup.as_pcsr is not None
    assert found.speedup.as_pcsr > 5 * (found.speedup.exact_bundle or 0)


def test_edsr_gains_and_imdn_does_not(tmp_path: Path) -> None:
    edsr = inspect_file(plain_file("edsr-baseline", tmp_path, scale=4)).speedup
    assert edsr.as_pcsr is not None
    heavy, light = (per_pixel(0, *(width,) * layers, 3) for width, layers in ((170, 4), (40, 3)))
    routed = 64 * (170 + 40 + 20) + 16 * (per_pixel(0, 20, 20, 1) + 0.2 * heavy + 0.8 * light)
    assert edsr.as_pcsr == pytest.approx((1218240 + 764928) / (1218240 + routed))
    assert edsr.advice == "PCSR gains here. pcsr-train makes a PCSR of it."
    imdn = run(plain_file("imdn", tmp_path, scale=4))
    assert "PCSR has nothing to gain: all of the work is in the backbone" in imdn.stdout
    assert "Use its plain bundle (pcsr-export)." in imdn.stdout


# PCSR, as checkpoint and as bundle


def test_pcsr_is_compared_with_all_heavy(pcsr_ckpt: Path) -> None:
    found = inspect_file(pcsr_ckpt)
    assert (found.kind, found.architecture, found.classifier_widths) == ("pcsr", "fsrcnn", (6,))
    heavy, light, classifier = per_pixel(0, 16, 16, 3), per_pixel(0, 12, 3), per_pixel(0, 6, 1)
    assert found.work.parts_per_output_px == {
        "classifier": classifier,
        "upsampler_0": heavy,
        "upsampler_1": light,
    }
    backbone, width = found.work.backbone_macs, 8
    assert backbone == 25 * 3 * 8 + 8 * 4 + 2 * 9 * 4 * 4 + 4 * 8  # d = 8, s = 4, m = 2
    assert found.work.tail_macs == width * 16 + 16 * heavy
    routed = width * (6 + 16 + 12) + 16 * (classifier + 0.2 * heavy + 0.8 * light)
    assert found.speedup.as_pcsr == pytest.approx(
        (backbone + found.work.tail_macs) / (backbone + routed)
    )
    assert found.parameters == sum(
        weight.numel() for weight in checkpoints.pcsr_network("fsrcnn").parameters()
    )


def test_a_scale_changes_the_work_of_upsamplers_alone(pcsr_ckpt: Path) -> None:
    four, two = inspect_file(pcsr_ckpt), inspect_file(pcsr_ckpt, 2)
    assert (two.scale, two.trained_scale) == (2, 4)
    assert two.work.backbone_macs == four.work.backbone_macs
    heavy = two.work.parts_per_output_px["upsampler_0"]
    assert four.work.tail_macs - two.work.tail_macs == (16 - 4) * heavy


def figures(found: Inspection) -> Any:  # noqa: ANN401
    return found.work, found.tiling, found.speedup, found.trained_scale


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_bundle_has_the_figures_of_its_checkpoint(count: int, exports: Any) -> None:  # noqa: ANN401
    bundle = exports.of(checkpoints.tiny("fsrcnn", count))
    before = snapshot(bundle)
    of_bundle, of_checkpoint = inspect_file(bundle), inspect_file(bundle.parent / "network.pth")
    assert (of_bundle.form, of_bundle.kind) == ("bundle", "pcsr")
    assert figures(of_bundle) == figures(of_checkpoint)
    assert snapshot(bundle) == before
    there = {one.name: one.there for one in of_bundle.precisions}
    assert there == {"fp32": True, "fp16": False, "bf16": False, "int8": False, "fp8": False}


def test_a_plain_bundle(plain_bundle: Path) -> None:
    of_bundle, of_file = (
        inspect_file(plain_bundle),
        inspect_file(plain_bundle.parent / "network.pth"),
    )
    assert of_bundle.kind == "plain"
    assert figures(of_bundle) == figures(of_file)
    assert of_bundle.work.tail_begins == "ConvTranspose"
    assert of_bundle.tiling.exact


def test_a_bundle_of_liif_says_so(exports: Any) -> None:  # noqa: ANN401
    found = inspect_file(exports.of(checkpoints.liif_checkpoint()))
    assert (found.kind, found.form) == ("liif", "bundle")
    assert found.speedup.exact_bundle is None, "what its authors compute is not in a bundle"
    assert found.speedup.as_pcsr is not None


# Precisions and hosts


def test_precisions_and_hosts_of_a_checkpoint(pcsr_ckpt: Path) -> None:
    found = inspect_file(pcsr_ckpt)
    assert [one.name for one in found.precisions if one.possible] == [
        *("fp32", "fp16", "bf16", "int8", "fp8")
    ]
    runs = {(host.backend, host.device): host.precisions for host in found.hosts}
    assert runs["native", "cpu"] == ("fp32", "bf16", "int8")
    assert runs["tensorrt", "cuda"] == ("fp32", "fp16", "bf16", "int8", "fp8")
    assert "bf16" not in runs["onnxruntime", "cpu"]


def test_what_a_precision_refuses_is_said(tmp_path: Path) -> None:
    data = checkpoints.plain_checkpoint("fsrcnn")
    name = next(name for name, value in data["model"]["sd"].items() if value.dim() == 4)
    data["model"]["sd"][name][0, 0, 0, 0] = 1e6
    found = inspect_file(checkpoints.save(data, tmp_path / "large.pth"))
    half = next(one for one in found.precisions if one.name == "fp16")
    assert not half.possible
    assert "overflows in fp16" in half.note
    assert all("fp16" not in host.precisions for host in found.hosts)


# The command


def test_json_is_the_report(pcsr_ckpt: Path, tmp_path: Path) -> None:
    ended = run(pcsr_ckpt, "--json", "-")
    assert ended.code == 0
    assert_clean(ended)
    report = json.loads(ended.stdout)
    assert report == json.loads(inspect_file(pcsr_ckpt).to_json())
    file = tmp_path / "report.json"
    assert "exact tiling" in run(pcsr_ckpt, "--json", file).stdout
    assert json.loads(file.read_text()) == report
    assert_refused(run(pcsr_ckpt, "--json", file), 1, "exists")


def test_the_table(pcsr_ckpt: Path) -> None:
    ended = run(pcsr_ckpt, "--scale", 2)
    assert ended.code == 0
    assert "checkpoint of a PCSR on fsrcnn" in ended.stdout
    assert "any; trained for x4, counted at x2" in ended.stdout
    assert "PCSR at 20% heavy over itself, all heavy" in ended.stdout


def test_other_files_are_refused(pcsr_ckpt: Path, carn_like_bundle: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    damaged = tmp_path / "damaged"
    shutil.copytree(carn_like_bundle, damaged)
    (damaged / "fp32" / "backbone.onnx").write_bytes(b"x")
    assert_refused(run(tmp_path / "nowhere.pth"), 2, "does not exist")
    assert_refused(run(text), 2, "notes.txt")
    assert_refused(run(tmp_path), 2, "is not a bundle")
    assert_refused(run(damaged), 2, "is damaged")
    assert_refused(run(carn_like_bundle / "manifest.json"), 2, "pass its folder")
    assert_refused(run(pcsr_ckpt, "--scale", 0.5), 2, "scale must lie between 1 and 64")
    assert_refused(run(pcsr_ckpt, "--scale", "nan"), 2, "scale must lie between 1 and 64")


def test_a_plain_network_has_one_scale(plain_bundle: Path) -> None:
    assert run(plain_bundle, "--scale", 4).code == 0
    assert_refused(run(plain_bundle, "--scale", 3), 2, "upscales by 4 alone, found --scale 3")
