"""The bundle on disk: read back as written; damaged, foreign or newer ones are refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pcsr.bundle import MANIFEST, Bundle, is_bundle
from pcsr.errors import BundleError
from pcsr.manifest import FORMAT_VERSION, Costs
from tests.commands import assert_refused, upscale

Json = dict[str, Any]
Change = Callable[[Json], Any]
COSTS = Costs(
    backbone_flops=1000,
    classifier_flops=7,
    upsampler_flops=(30, 20, 10),
    backbone_macs=2.5,
    classifier_macs=3,
    upsampler_macs=(15, 10, 5),
)


@pytest.fixture
def bundle(carn_like_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to spoil."""
    return Path(shutil.copytree(carn_like_bundle, tmp_path / "bundle"))


def edit(bundle: Path, change: Change) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def refuse(bundle: Path, pattern: str, *options: str) -> None:
    """The library and the command, with these options, both refuse it; the command does so in one
    line.
    """
    with pytest.raises(BundleError, match=pattern):
        read_all(bundle)
    refuse_command(bundle, pattern, *options)


def read_all(bundle: Path) -> None:
    loaded = Bundle.load(bundle)
    for role in ("backbone", "classifier", "upsampler_0", "upsampler_1"):
        loaded.graph_bytes(role)
    loaded.mlp_bytes()


def refuse_command(bundle: Path, pattern: str, *options: str) -> None:
    image, output = bundle.with_name("in.png"), bundle.with_name("out.png")
    Image.new("RGB", (8, 6)).save(image)
    assert_refused(upscale(bundle, image, output, *options), 2, pattern)
    assert not output.exists()


def graphs(manifest: Json) -> Json:
    found: Json = manifest["graphs"]["fp32"]
    return found


# Reading


@pytest.mark.parametrize(
    "name", ["carn_like_bundle", "three_way_bundle", "single_bundle", "plain_bundle"]
)
def test_manifest_is_read_as_it_was_written(name: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(name)
    bundle = Bundle.load(str(path))
    assert bundle.manifest.to_json() == (path / MANIFEST).read_text(encoding="utf-8")
    assert is_bundle(path)


def test_a_manifest_of_later_minor_additions_is_read(bundle: Path) -> None:
    edit(bundle, lambda m: m.update(added_later=1))
    assert Bundle.load(bundle).upsamplers == 2


def test_graphs_by_role(bundle: Path) -> None:
    loaded = Bundle.load(bundle)
    assert loaded.kind == "pcsr"
    assert loaded.graph_bytes("backbone") == (bundle / "fp32" / "backbone.onnx").read_bytes()
    with pytest.raises(BundleError, match="no network graph"):
        loaded.graph_bytes("network")
    with pytest.raises(BundleError, match=r"no fp16 graphs \(it has: fp32\)"):
        loaded.graph_bytes("backbone", "fp16")


def test_link_to_a_bundle_is_followed(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle)
    assert Bundle.load(tmp_path / "link").graph_bytes("backbone")


# No bundle


def test_missing(tmp_path: Path) -> None:
    refuse(tmp_path / "none", "none is not a bundle.*pcsr-export")
    assert not is_bundle(tmp_path / "none")


def test_manifest_missing(bundle: Path) -> None:
    (bundle / MANIFEST).unlink()
    refuse(bundle, f"is not a bundle.*{MANIFEST}.*pcsr-export")


def test_manifest_file_instead_of_its_folder(bundle: Path) -> None:
    refuse(bundle / MANIFEST, "(folder|directory)")


@pytest.mark.parametrize(
    "content",
    [b"", b"[", b"\xff\xfe", b"null", b"[1]", b'{"format": "other"}', b"[" * 100_000],
    ids=["empty", "cut", "binary", "null", "list", "foreign", "deep"],
)
def test_foreign_manifest(content: bytes, bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes(content)
    refuse(bundle, f"{MANIFEST} (cannot be read|is not the manifest of a pcsr bundle)")
    assert not is_bundle(bundle)


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 999, 1, 1.5, "1", None, 0])
def test_other_format_version(version: object, bundle: Path) -> None:
    edit(bundle, lambda m: m.update(format_version=version))
    refuse(bundle, f"format.version .*{version}")
    assert is_bundle(bundle), "an export may replace it"


# Damage

KEYS = [
    "kind",
    "model",
    "costs",
    "graphs",
    "mlps",
    "vectors",
    "trained_scale",
    "opset",
    "verification",
]
ROW_GRAPHS = ("--backend", "onnxruntime")  # the native backend reads none of them


@pytest.mark.parametrize("key", KEYS)
def test_missing_key(key: str, bundle: Path) -> None:
    edit(bundle, lambda m: m.pop(key))
    refuse(bundle, f"{MANIFEST} is damaged .*{key}.*export the bundle again")


DAMAGES: dict[str, Change] = {
    "kind": lambda m: m.update(kind="other"),
    "model": lambda m: m.update(model=None),
    "costs": lambda m: m.update(costs=[]),
    "costs-text": lambda m: m["costs"].update(upsampler_flops="ab"),
    "costs-none": lambda m: m["costs"].update(backbone_flops=None),
    "costs-zero": lambda m: m["costs"].update(backbone_flops=0, upsampler_flops=[0, 0]),
    "one-upsampler": lambda m: m["costs"].update(upsampler_flops=[1]),
    "no-upsampler": lambda m: m["costs"].update(upsampler_flops=[]),
    "scale-zero": lambda m: m.update(trained_scale=0),
    "scale-nan": lambda m: m.update(trained_scale=float("nan")),
    "no-graphs": lambda m: m.update(graphs={}),
    "graphs-list": lambda m: m.update(graphs=[]),
    "no-classifier": lambda m: graphs(m).pop("classifier"),
    "no-upsampler-1": lambda m: graphs(m).pop("upsampler_1"),
    "no-inputs": lambda m: graphs(m)["backbone"].update(inputs=None),
    "no-file": lambda m: graphs(m)["backbone"].update(file=None),
    "null-byte": lambda m: graphs(m)["backbone"].update(file="a\0b"),
    "empty-file": lambda m: graphs(m)["backbone"].update(file=""),
    "no-sha256": lambda m: graphs(m)["backbone"].update(sha256=None),
    "exchanged": lambda m: graphs(m).update(
        upsampler_0=graphs(m)["upsampler_1"], upsampler_1=graphs(m)["upsampler_0"]
    ),
    "no-mlps": lambda m: m.update(mlps=None),
    "mlps-list": lambda m: m.update(mlps=[]),
    "mlps-no-file": lambda m: m["mlps"].update(file=None),
    "mlps-no-sha256": lambda m: m["mlps"].pop("sha256"),
    "mlps-elsewhere": lambda m: m["mlps"].update(file="../mlps.npz"),
    "vectors-text": lambda m: m.update(vectors="verification.npz"),
    "vectors-no-sha256": lambda m: m["vectors"].pop("sha256"),
    "no-fp32": lambda m: m.update(graphs={"fp16": graphs(m)}),
    "fp32-as-fp16": lambda m: m["graphs"].update(fp16=graphs(m)),
    "half-image": lambda m: graphs(m)["backbone"]["inputs"][0].update(dtype="float16"),
    "half-row-map": lambda m: graphs(m)["upsampler_1"]["inputs"][0].update(dtype="float16"),
    "no-dtype": lambda m: graphs(m)["backbone"]["outputs"][0].update(dtype=None),
    "features-last": lambda m: graphs(m)["backbone"]["outputs"].reverse(),
    "no-features": lambda m: graphs(m)["backbone"]["outputs"].pop(0),
    "working-bytes-zero": lambda m: m["model"].update(working_bytes_per_px=0),
    "working-bytes-text": lambda m: m["model"].update(working_bytes_per_px="much"),
    "no-working-bytes": lambda m: m["model"].pop("working_bytes_per_px"),
    "row-graph-as-backbone": lambda m: graphs(m).update(backbone=graphs(m)["upsampler_0"]),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_manifest(case: str, bundle: Path) -> None:
    edit(bundle, DAMAGES[case])
    refuse_command(bundle, "bundle")


def test_flipped_byte_in_a_graph(bundle: Path) -> None:
    file = bundle / "fp32" / "upsampler_1.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    refuse(bundle, "upsampler_1.onnx is damaged: sha256 .*export the bundle again", *ROW_GRAPHS)


def test_missing_graph(bundle: Path) -> None:
    (bundle / "fp32" / "classifier.onnx").unlink()
    refuse(bundle, "classifier.onnx cannot be read .*export the bundle again", *ROW_GRAPHS)


@pytest.mark.parametrize("file", ["fp32/backbone.onnx", "fp32/mlps.npz"])
def test_flipped_byte_in_what_the_native_backend_reads(file: str, bundle: Path) -> None:
    data = bytearray((bundle / file).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / file).write_bytes(data)
    refuse(bundle, f"{Path(file).name} is damaged: sha256 .*export the bundle again")


def test_missing_weights(bundle: Path) -> None:
    (bundle / "fp32" / "mlps.npz").unlink()
    refuse(bundle, "mlps.npz cannot be read .*export the bundle again")


@pytest.mark.parametrize("absolute", [False, True])
def test_path_outside_the_bundle(absolute: bool, bundle: Path) -> None:
    outside = shutil.copy(bundle / "fp32" / "backbone.onnx", bundle.parent / "x.onnx")
    name = str(outside) if absolute else "../x.onnx"
    edit(bundle, lambda m: graphs(m)["backbone"].update(file=name))
    refuse(bundle, "lies outside the bundle")


@pytest.mark.parametrize("what", ["fp32/backbone.onnx", "fp32"])
def test_link_that_leads_outside(what: str, bundle: Path) -> None:
    outside = bundle.parent / "outside"
    shutil.move(bundle / what, outside)
    (bundle / what).symlink_to(outside)
    refuse(bundle, "lies outside the bundle")


# Costs


@pytest.mark.parametrize("scale", [1, 2.5, 4])
def test_cost_table(scale: float) -> None:
    pixels = round(16 * scale) ** 2
    work = np.array([1000 + flops * pixels for flops in (30, 20, 10)])
    table = COSTS.cost_table(scale)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table, work / work.sum(), rtol=1e-6)


def test_paper_flops_count_each_part_once() -> None:
    lr_size, hr_size, pixels = (16, 32), (64, 128), (100, 200, 7892)
    backbone, classifier = 1000 * 2, 7 * 64 * 128
    upsamplers = 30 * 100 + 20 * 200 + 10 * 7892
    assert COSTS.paper_flops(lr_size, hr_size, pixels) == backbone + classifier + upsamplers


def test_macs_count_each_part_once() -> None:
    macs = COSTS.macs((2, 3), (4, 6), (1, 3, 20))
    assert macs == 2.5 * 6 + 3 * 24 + (15 + 30 + 100)


def test_plain_network_costs_its_backbone_alone() -> None:
    plain = replace(
        COSTS, upsampler_flops=(), upsampler_macs=(), classifier_flops=0, classifier_macs=0
    )
    assert plain.paper_flops((16, 16), (64, 64), ()) == 1000
    assert plain.macs((4, 4), (16, 16), ()) == 40


def test_what_a_signal_handler_raises_stays(
    carn_like_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TimeoutError is an OSError, which files that cannot be read raise, too."""

    def interrupted(*_: object) -> None:
        raise TimeoutError("soft limit")

    monkeypatch.setattr("pcsr.bundle.read_graph_shapes", interrupted)
    with pytest.raises(TimeoutError, match="soft limit"):
        Bundle.load(carn_like_bundle).graph_bytes("backbone")
