"""A bundle in one file is opened as bundles are; what is baked in cannot be changed."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest

from pcsr import Upscaler
from pcsr.errors import BackendError, BundleError, UsageError
from pcsr.export.single_file.file import SingleFileOptions, export_single_file
from pcsr.single_file import K, SingleFile, open_bundle
from tests import tolerances
from tests.commands import assert_refused, profile, run, upscale


@pytest.fixture(scope="module")
def file(carn_like_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "carn.onnx"
    export_single_file(carn_like_bundle, path, SingleFileOptions(scale=2, k=0.25))
    return path


def test_it_upscales_as_its_bundle_does(file: Path, carn_like_bundle: Path) -> None:
    image = np.random.default_rng(0).random((13, 17, 3), dtype=np.float32)
    with Upscaler(file) as one, Upscaler(carn_like_bundle) as bundle:
        assert one.scale == 2
        expected = bundle(image, 2, k=0.25).image
        for options in ({}, {"k": 0.25}, {"scale": 2, "refine": True}):
            found = one(image, **options).image
            assert np.abs(found - expected).max() <= tolerances.IMAGE_FP32


def test_a_fractional_scale(three_way_bundle: Path, tmp_path: Path) -> None:
    options = SingleFileOptions(scale=2.5, adaptive=True)
    export_single_file(three_way_bundle, tmp_path / "x.onnx", options)
    image = np.random.default_rng(0).integers(0, 256, (13, 17, 4), dtype=np.uint8)
    found = Upscaler(tmp_path / "x.onnx")(image).image
    expected = Upscaler(three_way_bundle)(image, 2.5, adaptive=True).image
    assert found.shape == (32, 42, 4)
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"scale": 4}, "has scale 2 baked in, found 4"),
        ({"k": 0.0}, "has routing k=0.25 baked in, found k=0"),
        ({"adaptive": True}, "found adaptive"),
        ({"heavy_ratio": 0.2}, "found heavy=0.2"),
        ({"preset": "fast"}, "nothing to route"),
        ({"refine": False}, "has refine on baked in, found off"),
    ],
)
def test_what_is_baked_in_cannot_be_changed(
    file: Path, options: dict[str, float], pattern: str
) -> None:
    with pytest.raises(UsageError, match=pattern):
        Upscaler(file)(np.zeros((4, 4, 3), np.float32), **options)  # type: ignore[arg-type]


def test_k_is_what_its_weight_holds(file: Path, carn_like_bundle: Path, tmp_path: Path) -> None:
    model = onnx.load(file)
    (k,) = [tensor for tensor in model.graph.initializer if tensor.name == K]
    k.CopyFrom(onnx.numpy_helper.from_array(np.array([0.1], np.float32), K))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    image = np.random.default_rng(0).random((13, 17, 3), dtype=np.float32)
    expected = Upscaler(carn_like_bundle)(image, 2, k=0.1).image
    with Upscaler(tmp_path / "x.onnx") as changed:
        assert np.abs(changed(image, k=0.1).image - expected).max() <= tolerances.IMAGE_FP32
        with pytest.raises(UsageError, match=r"has routing k=0\.1 baked in, found k=0\.25"):
            changed(image, k=0.25)


@pytest.mark.parametrize("where", [{"device": "cuda"}, {"backend": "torch"}, {"backend": "native"}])
def test_it_runs_in_onnxruntime_on_the_cpu_alone(file: Path, where: dict[str, str]) -> None:
    for backend in ("auto", "onnxruntime"):
        assert Upscaler(file, backend=backend).backend == "onnxruntime"
    with pytest.raises(BackendError, match="runs on the CPU in ONNX Runtime here"):
        Upscaler(file, **where)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="for whole images"):
        Upscaler(file, tile_px=16)
    with pytest.raises(BundleError, match="is in fp32, found fp16"):
        Upscaler(file, backend="onnxruntime", precision="fp16")


def test_the_commands_take_it(file: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (17, 13), (90, 120, 30)).save(tmp_path / "in.png")
    ended = upscale(file, tmp_path / "in.png", tmp_path / "out.png")
    assert ended.code == 0, ended.stderr
    assert Image.open(tmp_path / "out.png").size == (34, 26)
    ended = upscale(file, tmp_path / "in.png", tmp_path / "other.png", "--k", 1)
    assert_refused(ended, 2, "has routing k=0.25 baked in, found k=1")
    ended = profile(file, "--size", "17x13", "--duration", 0.1)
    assert ended.code == 0, ended.stderr
    assert "carn.onnx" in ended.stdout


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("calibration.evaluation", ["BUNDLE", "PHOTO"]),
        ("calibration", ["operating-point", "BUNDLE", "PHOTO"]),
        ("calibration", ["precision", "BUNDLE", "PHOTO"]),
        ("runtime.tensorrt", ["BUNDLE"]),
        ("runtime.doctor", ["BUNDLE"]),
    ],
)
def test_commands_that_need_a_bundle_refuse_it(
    file: Path, module: str, words: list[str], tmp_path: Path
) -> None:
    from PIL import Image

    Image.new("RGB", (17, 13)).save(tmp_path / "hr.png")
    command = import_module(f"pcsr.{module}.cli").main
    missing = tmp_path / "none.onnx"
    only = r"is one ONNX file, which runs in pcsr-upscale and pcsr-profile only; pass the folder"
    for path, pattern in ((file, only), (missing, "is not a bundle")):
        given = {"BUNDLE": path, "PHOTO": tmp_path / "hr.png"}
        assert_refused(run(command, tuple(given.get(word, word) for word in words)), 2, pattern)


# Files of someone else


def without_facts(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def with_external_data(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")


def with_control_flow(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.add(
        name="body", type=onnx.AttributeProto.GRAPH, g=onnx.GraphProto()
    )


def with_an_unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Loop"


def with_another_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[5].output[0]


def with_a_huge_scale(model: onnx.ModelProto) -> None:
    next(e for e in model.metadata_props if e.key == "pcsr.scale").value = "1e9"


def with_another_scale(model: onnx.ModelProto) -> None:
    next(e for e in model.metadata_props if e.key == "pcsr.scale").value = "3"


def with_an_unknown_routing(model: onnx.ModelProto) -> None:
    next(e for e in model.metadata_props if e.key == "pcsr.routing").value = "magic"


def without_k(model: onnx.ModelProto) -> None:
    next(tensor for tensor in model.graph.initializer if tensor.name == K).name = "k"
    for node in model.graph.node:
        node.input[:] = ["k" if name == K else name for name in node.input]


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (without_facts, "is no file of pcsr-export --single-file; pass one"),
        (with_external_data, "external_data|data_location"),
        (with_control_flow, "it has g in a AttributeProto"),
        (with_an_unknown_operator, "operator 'Loop'"),
        (with_another_output, "does not make `upscaled`"),
        (with_a_huge_scale, "it states scale 1e\\+09"),
        (with_an_unknown_routing, "it states the routing 'magic'"),
        (without_k, "it is routed by k, and has no weight pcsr.k"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(
    file: Path, change: Callable[[onnx.ModelProto], None], pattern: str, tmp_path: Path
) -> None:
    model = onnx.load(file)
    change(model)
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=pattern):
        open_bundle(tmp_path / "x.onnx")


def test_a_result_of_another_size_is_refused(file: Path, tmp_path: Path) -> None:
    model = onnx.load(file)
    with_another_scale(model)
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="instead of"):
        Upscaler(tmp_path / "x.onnx")(np.zeros((4, 4, 3), np.float32))


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    damaged = tmp_path / "x.onnx"
    for data in (b"", b"not a model", b"\x08" * 1000):
        damaged.write_bytes(data)
        with pytest.raises(BundleError, match="single-file"):
            SingleFile.load(damaged)
    damaged.write_bytes(b"")
    with pytest.raises(BundleError, match=r"single-file \(it is empty\); export it again"):
        SingleFile.load(damaged)
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        open_bundle(tmp_path / "missing.onnx")
