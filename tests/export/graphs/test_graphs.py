"""Facts about the exported graphs, and that folding changes nothing but the work."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from pcsr import Bundle, VerificationError
from pcsr.export import exporter
from pcsr.export.exporter import ExportOptions, export_bundle
from pcsr.export.graphs import onnx_graph
from pcsr.export.graphs.analysis import count_macs, working_bytes
from pcsr.export.graphs.folding import FoldedMlp, deployable
from pcsr.export.graphs.receptive_field import receptive_radius
from pcsr.export.network import NetworkSettings
from pcsr.models import make_backbone
from pcsr.models.liif import Mlp, UpsamplerSpec
from pcsr.runtime.mlps import load_mlps
from tests.checkpoints import BACKBONES, pcsr_checkpoint, pcsr_network, save, shake_batch_norm


@pytest.fixture(params=["carn_like_bundle", "three_way_bundle", "single_bundle", "plain_bundle"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return Bundle.load(request.getfixturevalue(request.param))


def graphs_of(bundle: Bundle) -> dict[str, onnx.ModelProto]:
    roles = bundle.manifest.graphs["fp32"]
    return {role: onnx.load_from_string(bundle.graph_bytes(role)) for role in roles}


def test_graphs_hold_nothing_that_cannot_be_deployed(bundle: Bundle) -> None:
    for model in graphs_of(bundle).values():
        onnx.checker.check_model(model, full_check=True)
        kinds = Counter(node.op_type for node in model.graph.node)
        assert not kinds.keys() & {"GridSample", "NonZero", "BatchNormalization", "PRelu"}


def test_graph_names_are_unique_across_bundles(
    carn_like_bundle: Path, three_way_bundle: Path, plain_bundle: Path
) -> None:
    bundles = [Bundle.load(path) for path in (carn_like_bundle, three_way_bundle, plain_bundle)]
    names = [model.graph.name for bundle in bundles for model in graphs_of(bundle).values()]
    assert len(set(names)) == len(names)


def test_metadata_tells_what_a_graph_is(bundle: Bundle) -> None:
    for role, model in graphs_of(bundle).items():
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        assert metadata["pcsr.role"] == role
        assert metadata["pcsr.kind"] == bundle.kind
        assert metadata["pcsr.checkpoint_sha256"] == bundle.manifest.checkpoint_sha256


def test_sizes_and_rows_are_dynamic(bundle: Bundle) -> None:
    for role, model in graphs_of(bundle).items():
        first = model.graph.input[0].type.tensor_type.shape.dim
        image = role in ("backbone", "network")
        names = [dim.dim_param for dim in first]
        assert names == ["", "", "h", "w"] if image else names == ["pixels", ""]


def test_manifest_describes_the_graphs_themselves(bundle: Bundle) -> None:
    for role, graph in bundle.manifest.graphs["fp32"].items():
        session = ort.InferenceSession(bundle.graph_bytes(role), providers=["CPUExecutionProvider"])
        assert [t.name for t in graph.inputs] == [value.name for value in session.get_inputs()]
        assert [t.name for t in graph.outputs] == [value.name for value in session.get_outputs()]
        assert [list(t.shape) for t in graph.outputs] == [v.shape for v in session.get_outputs()]


def test_the_backbone_gives_its_features_first_then_a_row_map_per_mlp(bundle: Bundle) -> None:
    if bundle.kind == "plain":
        return
    outputs = bundle.graphs("fp32")["backbone"].outputs
    roles = [role for role in bundle.graphs("fp32") if role != "backbone"]
    assert [t.name for t in outputs] == ["features", *(f"{role}_features" for role in roles)]
    width = bundle.manifest.model.feature_width
    session = ort.InferenceSession(bundle.graph_bytes("backbone"))
    image = np.random.default_rng(0).random((1, 3, 7, 9), dtype=np.float32)
    found = dict(zip(outputs, session.run(None, {"image": image}), strict=True))
    features, *maps = found.values()
    assert features.shape == (1, width, 7, 9)
    rows = features[0].reshape(width, -1).T
    mlps = load_mlps(bundle)
    assert list(mlps) == roles
    for mlp, row_map in zip(mlps.values(), maps, strict=True):
        np.testing.assert_allclose(row_map, rows @ mlp.feature_weight.T, atol=1e-5)


def test_features_alone_need_none_of_the_row_maps(carn_like_bundle: Path) -> None:
    model = graphs_of(Bundle.load(carn_like_bundle))["backbone"]
    (maker,) = [node for node in model.graph.node if "features" in node.output]
    assert maker.op_type != "MatMul"


def test_no_rows_are_allowed(carn_like_bundle: Path) -> None:
    bundle = Bundle.load(carn_like_bundle)
    graph = bundle.graphs("fp32")["upsampler_0"]
    session = ort.InferenceSession(bundle.graph_bytes("upsampler_0"))
    inputs = {
        "features": np.zeros((6, int(graph.inputs[0].shape[1])), np.float32),
        "index": np.zeros(0, np.int32),
        "offset": np.zeros((0, 2), np.float32),
        "cell": np.ones(2, np.float32),
    }
    assert session.run(None, inputs)[0].shape == (0, 3)


def test_folded_mlp_equals_the_mlp() -> None:
    torch.manual_seed(0)
    mlp = Mlp(8 + 4, (16, 16), 3)
    folded = FoldedMlp(mlp, UpsamplerSpec((16, 16)))
    z, index = torch.randn(30, 8), torch.randint(0, 30, (100,), dtype=torch.int32)
    offset, cell = torch.rand(100, 2) - 0.5, torch.tensor([0.5, 0.7])
    inputs = torch.cat([z[index.long()], offset, cell.expand(100, 2)], dim=1)
    found = folded(z @ folded.feature_weight, index, offset, cell)
    torch.testing.assert_close(found, mlp(inputs), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_deployable_equals_the_network(name: str) -> None:
    backbone = make_backbone(name, BACKBONES[name])
    shake_batch_norm(backbone)
    image = torch.rand(1, 3, 9, 11)
    rewritten = deployable(backbone.eval())
    torch.testing.assert_close(rewritten(image), backbone(image), atol=1e-5, rtol=1e-5)
    assert not any(isinstance(m, nn.PReLU) for m in rewritten.modules())


def test_std_is_folded_into_the_residual(tmp_path: Path) -> None:
    network = pcsr_network("srresnet")
    ckpt = save(pcsr_checkpoint(network, "srresnet"), tmp_path / "net.pth")
    settings = NetworkSettings(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    exported = export_bundle(ckpt, tmp_path / "bundle", ExportOptions(settings))
    assert all(check.passed for check in exported.checks)


def test_macs_of_a_row_are_those_of_the_layers(carn_like_bundle: Path) -> None:
    costs = Bundle.load(carn_like_bundle).manifest.costs
    heavy = 2 * 16 + 16 * 16 + 16 * 3  # offset, hidden, output; the feature part is folded
    light = 2 * 12 + 12 * 3
    assert costs.upsampler_macs == (heavy, light)
    assert costs.upsampler_flops == (2 * (12 * 16 + 16 * 16 + 16 * 3), 2 * (12 * 12 + 12 * 3))
    assert costs.classifier_macs == 2 * 6 + 6  # one logit instead of two


def test_macs_of_a_deconvolution_are_those_executed(plain_bundle: Path) -> None:
    models = graphs_of(Bundle.load(plain_bundle))
    convolutions = 25 * 3 * 8 + 8 * 4 + 2 * (9 * 4 * 4) + 4 * 8
    assert count_macs(models["network"], h=4, w=5) == 20 * (convolutions + 81 * 8 * 3)


@pytest.mark.parametrize(("name", "radius"), [("carn", 19), ("fsrcnn", 4), ("srresnet", 5)])
def test_receptive_radius(name: str, radius: int, tmp_path: Path) -> None:
    file = tmp_path / "backbone.onnx"
    backbone = make_backbone(name, BACKBONES[name]).eval()
    torch.onnx.export(backbone, (torch.rand(1, 3, 8, 8),), file, external_data=False)
    assert receptive_radius(onnx.load(file)) == radius


def test_working_bytes_are_the_most_that_lives_at_one_time() -> None:
    """input 3 -> a 8 -> b 8 -> a + b 8 -> output 2 channels, of which a, b and the sum meet."""
    helper, tensor = onnx.helper, onnx.TensorProto.FLOAT
    wide = ("h", "w")
    weights = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (2, 8, 1, 1)}
    pads = {3: [1, 1, 1, 1], 1: [0, 0, 0, 0]}

    def conv(source: str, weight: str, target: str) -> onnx.NodeProto:
        size = weights[weight][-1]
        return helper.make_node("Conv", [source, weight], [target], pads=pads[size])

    graph = helper.make_graph(
        [
            conv("image", "w1", "a"),
            conv("a", "w2", "b"),
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Relu", ["sum"], ["positive"]),
            conv("positive", "w3", "out"),
        ],
        "residual",
        [helper.make_tensor_value_info("image", tensor, [1, 3, *wide])],
        [helper.make_tensor_value_info("out", tensor, [1, 2, *wide])],
        [
            onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name)
            for name, shape in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    assert working_bytes(model, h=5, w=7) == 4 * 5 * 7 * (8 + 8 + 8)
    del model.graph.node[2:4]
    model.graph.node[2].input[0] = "b"
    assert working_bytes(model, h=5, w=7) == 4 * 5 * 7 * (8 + 8)
    model.graph.output.append(helper.make_tensor_value_info("a", tensor, [1, 8, *wide]))
    assert working_bytes(model, h=5, w=7) == 4 * 5 * 7 * (8 + 8 + 2)


@pytest.mark.parametrize(("name", "channels"), [("carn_like_bundle", 8), ("three_way_bundle", 8)])
def test_working_bytes_of_a_bundle_hold_its_features_and_row_maps(
    name: str, channels: int, request: pytest.FixtureRequest
) -> None:
    model = Bundle.load(request.getfixturevalue(name)).manifest.model
    assert model.feature_width == channels
    assert 4 * 2 * channels <= model.working_bytes_per_px <= 4 * 40 * channels


def test_a_defect_in_a_graph_is_caught_and_nothing_written(
    pcsr_ckpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = onnx_graph.export_graph

    def planted(*args: object) -> onnx.ModelProto:
        model = honest(*args)  # type: ignore[arg-type]
        weights = onnx.numpy_helper.to_array(model.graph.initializer[-1]).copy()
        weights.flat[0] += 0.01
        name = model.graph.initializer[-1].name
        model.graph.initializer[-1].CopyFrom(onnx.numpy_helper.from_array(weights, name))
        return model

    monkeypatch.setattr(exporter, "export_graph", planted)
    with pytest.raises(VerificationError, match="comparisons with PyTorch failed"):
        export_bundle(pcsr_ckpt, tmp_path / "bundle", ExportOptions())
    assert list(tmp_path.iterdir()) == []


def test_verification_is_stored(bundle: Bundle) -> None:
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    checked = {check["what"] for check in manifest["verification"]}
    assert {f"{role} graph" for role in bundle.manifest.graphs["fp32"]} < checked
    assert any(what.startswith("pipeline") for what in checked)
    assert {tuple(check["lr_size"]) for check in manifest["verification"]} == {(37, 53), (24, 40)}
