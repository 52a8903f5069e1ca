"""Bundles that someone has made to do harm, their hashes made right: one line, and nothing else."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pcsr import Bundle, Upscaler
from pcsr.errors import BundleError, ImageError
from pcsr.runtime.onnxruntime_session import open_session, provider_of

Change = Callable[[onnx.GraphProto], Any]
BACKENDS = ["native", "onnxruntime", "torch"]
IMAGE = np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8)
CPU = provider_of("cpu")


@pytest.fixture
def bundle(carn_like_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to spoil."""
    return Path(shutil.copytree(carn_like_bundle, tmp_path / "bundle"))


@pytest.fixture
def plain(plain_bundle: Path, tmp_path: Path) -> Path:
    """A plain network to spoil."""
    return Path(shutil.copytree(plain_bundle, tmp_path / "plain"))


def change_graph(bundle: Path, role: str, change: Change) -> None:
    """Changes a graph, and makes its hash right."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    entry = manifest["graphs"]["fp32"][role]
    model = onnx.load(bundle / entry["file"], load_external_data=False)
    change(model.graph)
    data = model.SerializeToString()
    (bundle / entry["file"]).write_bytes(data)
    entry["sha256"] = hashlib.sha256(data).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def behind(name: str, op: str, *weights: NDArray[Any], **options: Any) -> Change:  # noqa: ANN401
    """Puts one more node behind an output."""

    def change(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            for names in (node.input, node.output):
                for index, each in enumerate(names):
                    names[index] = "before" if each == name else each
        names = [f"weight{index}" for index in range(len(weights))]
        for name_of_weight, weight in zip(names, weights, strict=True):
            graph.initializer.append(numpy_helper.from_array(weight, name_of_weight))
        graph.node.append(helper.make_node(op, ["before", *names], [name], **options))

    return change


def refuse(bundle: Path, backend: str, pattern: str) -> None:
    with pytest.raises((BundleError, ImageError), match=pattern) as caught:
        Upscaler(bundle, backend=backend, threads=1)(IMAGE)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000


DEEPER = np.zeros((117, 8, 1, 1), np.float32)
FEATURES: dict[str, Change] = {
    "deeper": behind("features", "Conv", DEEPER),
    "shallower": behind("features", "Conv", DEEPER[:5]),
    "shorter": behind("features", "Slice", *(np.array([n], np.int64) for n in (0, 3, 2))),
    "turned": behind("features", "Transpose", perm=[0, 1, 3, 2]),
    "flat": behind("features", "Flatten"),
    "twice": behind("features", "Expand", np.array([2, 1, 1, 1], np.int64)),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", FEATURES)
def test_features_of_another_shape(case: str, backend: str, bundle: Path) -> None:
    change_graph(bundle, "backbone", FEATURES[case])
    refuse(
        bundle,
        backend,
        r"is no backbone graph of a bundle .*(features.*expected|more than is stated)",
    )


def typed(kind: int) -> Change:
    def change(graph: onnx.GraphProto) -> None:
        behind("features", "Cast", to=kind)(graph)
        graph.output[0].type.tensor_type.elem_type = kind

    return change


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.FLOAT16, TensorProto.DOUBLE])
@pytest.mark.parametrize("backend", ["native", "torch"])
def test_features_of_another_type(kind: int, backend: str, bundle: Path) -> None:
    change_graph(bundle, "backbone", typed(kind))
    refuse(bundle, backend, r"features of the backbone graph is (uint8|float16|float64) .* instead")


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_logits_of_another_shape(backend: str, bundle: Path) -> None:
    change_graph(bundle, "classifier", behind("logits", "Gather", np.zeros(2, np.int64), axis=1))
    refuse(bundle, backend, "is no classifier graph of a bundle .*shape")


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_a_graph_that_fits_one_role_is_refused_in_another(backend: str, bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    graphs = manifest["graphs"]["fp32"]
    for name in ("file", "sha256"):
        graphs["upsampler_1"][name] = graphs["classifier"][name]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    refuse(bundle, backend, "is no upsampler_1 graph of a bundle")


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_a_plain_output_of_one_pixel(backend: str, plain: Path) -> None:
    change_graph(plain, "network", behind("upscaled", "ReduceMean", np.array([2, 3], np.int64)))
    refuse(plain, backend, "is no network graph of a bundle .*upscaled.*expected")


def external(graph: onnx.GraphProto) -> None:
    weight = graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="secret")


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_in_another_file(
    backend: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(bytes(10**6))
    monkeypatch.chdir(tmp_path)
    change_graph(bundle, "backbone", external)
    refuse(bundle, backend, r"is no backbone graph of a bundle .*(external_data|data_location)")


def test_a_graph_is_checked_again_for_each_size(plain: Path) -> None:
    """The product of all pixels with all is small for a small image."""

    def change(graph: onnx.GraphProto) -> None:
        weights: dict[str, NDArray[Any]] = {
            "tall": np.array([-1, 1], np.int64),
            "wide": np.array([1, -1], np.int64),
            "nothing": np.zeros(1, np.float32),
        }
        for name, array in weights.items():
            graph.initializer.append(numpy_helper.from_array(array, name))
        last = next(node for node in graph.node if "upscaled" in node.output)
        last.output[0] = "before"
        graph.node.extend(
            [
                helper.make_node("Reshape", ["image", "tall"], ["all_in_a_column"]),
                helper.make_node("Reshape", ["image", "wide"], ["all_in_a_row"]),
                helper.make_node("MatMul", ["all_in_a_column", "all_in_a_row"], ["products"]),
                helper.make_node("ReduceMean", ["products"], ["mean_product"], keepdims=0),
                helper.make_node("Mul", ["mean_product", "nothing"], ["null"]),
                helper.make_node("Add", ["before", "null"], ["upscaled"]),
            ]
        )

    change_graph(plain, "network", change)
    manifest = json.loads((plain / "manifest.json").read_text())
    manifest["model"]["working_bytes_per_px"] = 2**20
    manifest["model"]["receptive_radius_px"] = None  # whole, not in tiles
    (plain / "manifest.json").write_text(json.dumps(manifest))
    upscaler = Upscaler(plain)
    assert upscaler(IMAGE).image.shape == (64, 48, 3)
    with pytest.raises(
        BundleError, match=r"cannot run .*more work than a graph of a bundle may be"
    ):
        upscaler(np.zeros((700, 700, 3), np.uint8))


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_that_overflow(backend: str, bundle: Path) -> None:
    def change(graph: onnx.GraphProto) -> None:
        for weight in graph.initializer:
            if len(weight.dims) == 4:
                shape = tuple(weight.dims)
                weight.CopyFrom(
                    numpy_helper.from_array(np.full(shape, 3.4e38, np.float32), weight.name)
                )

    change_graph(bundle, "backbone", change)
    refuse(bundle, backend, "NaN or infinite values")


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
@pytest.mark.parametrize("role", ["upsampler_0", "upsampler_1"])
def test_residuals_that_overflow(role: str, backend: str, bundle: Path) -> None:
    change_graph(bundle, role, behind("residual", "Mul", np.array(np.inf, np.float32)))
    refuse(bundle, backend, "network gives NaN or infinite values")


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_a_plain_network_that_overflows(backend: str, plain: Path) -> None:
    change_graph(plain, "network", behind("upscaled", "Mul", np.array(np.inf, np.float32)))
    refuse(plain, backend, "network gives NaN or infinite values")


def test_a_model_is_never_read_in_another_format(carn_like_bundle: Path) -> None:
    bundle = Bundle.load(carn_like_bundle)
    session = open_session(bundle, "backbone", "fp32", 1, CPU)
    options = session.get_session_options()
    assert options.get_session_config_entry("session.load_model_format") == "ONNX"


@pytest.mark.parametrize("name", ["manifest.json", "fp32/backbone.onnx", "fp32/mlps.npz"])
@pytest.mark.parametrize("kind", ["fifo", "device", "loop", "outside", "folder"])
def test_what_is_no_file_of_the_bundle(name: str, kind: str, bundle: Path, tmp_path: Path) -> None:
    file = bundle / name
    shutil.copy(file, tmp_path / "outside")
    file.unlink()
    match kind:
        case "fifo":
            os.mkfifo(file)
        case "device":
            file.symlink_to("/dev/zero")
        case "loop":
            file.symlink_to(file.with_suffix(".loop"))
            file.with_suffix(".loop").symlink_to(file)
        case "outside":
            file.symlink_to(tmp_path / "outside")
        case "folder":
            file.mkdir()
    refuse(bundle, "native", f"{Path(name).name} .*cannot be read")


MANIFESTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "400-digits": lambda m: m["costs"].update(backbone_flops=10**400),
    "huge-flops": lambda m: m["costs"].update(backbone_flops=1e300),
    "negative-flops": lambda m: m["costs"].update(upsampler_flops=[-1, 1]),
    "infinite-flops": lambda m: m["costs"].update(classifier_flops=float("inf")),
    "nan-flops": lambda m: m["costs"].update(upsampler_flops=[float("nan"), 1]),
    "wide": lambda m: m["model"]["upsamplers"][0].update(widths=[1016801]),
    "no-width": lambda m: m["model"]["upsamplers"][0].update(widths=[0]),
    "no-features": lambda m: m["model"].update(feature_width=0),
    "deep-features": lambda m: m["model"].update(feature_width=10**6),
    "scale": lambda m: m.update(trained_scale=1000),
    "radius": lambda m: m["model"].update(receptive_radius_px=2**40),
    "greedy": lambda m: m["model"].update(working_bytes_per_px=2**40),
    "modest": lambda m: m["model"].update(working_bytes_per_px=1),
    "newline": lambda m: m["graphs"]["fp32"]["backbone"].update(file="a\nb"),
    "nul": lambda m: m["mlps"].update(file="a\0b"),
    "number-as-name": lambda m: m["graphs"]["fp32"]["backbone"].update(file=3),
    "escape": lambda m: m["model"].update(backbone="\x1b[2J"),
    "long": lambda m: m.update(kind="x" * 10**5),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests(case: str, bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    MANIFESTS[case](manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    refuse(bundle, "native", "is damaged|cannot be read|more than is stated")
