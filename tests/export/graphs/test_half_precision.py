"""Graphs in half precision: which tensors have which type, and that defects are refused."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import DTypeLike
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pcsr import Bundle, UsageError, VerificationError
from pcsr.export import exporter
from pcsr.export.exporter import ExportOptions, ExportResult, check_precisions, export_bundle
from pcsr.export.graphs.channel_padding import GPU_BLOCK, pad_channels
from pcsr.export.graphs.folding import deployable
from pcsr.export.graphs.half_precision import to_half_precision
from pcsr.export.verification.emulated_half import RoundingRunner, emulated
from pcsr.models import make_backbone
from tests import checkpoints
from tests.commands import assert_refused, export

ALL = ExportOptions(precisions=("bf16", "fp16"))
NUMPY: dict[str, DTypeLike] = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}
ONNX = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
EXACT = {"image", "offset", "cell", "logits", "residual", "upscaled"}
CASES = [("carn", 2), ("fsrcnn", 3), ("srresnet", 1), ("srresnet", 2), ("fsrcnn", 0), ("carn", 0)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ExportResult:
    """A tiny random network with this many upsamplers (0: plain) in all precisions."""
    backbone, count = request.param
    folder = tmp_path_factory.mktemp("typed")
    return export_bundle(_checkpoint(backbone, count, folder), folder / "bundle", ALL)


def _checkpoint(backbone: str, count: int, folder: Path) -> Path:
    if count == 0:
        data = checkpoints.plain_checkpoint(backbone)
    else:
        network = checkpoints.calmed(checkpoints.pcsr_network(backbone, count))
        data = checkpoints.pcsr_checkpoint(network, backbone)
    return checkpoints.save(data, folder / "network.pth")


def _graphs(bundle: Bundle, precision: str) -> dict[str, onnx.ModelProto]:
    roles = bundle.graphs(precision)
    return {role: onnx.load_from_string(bundle.graph_bytes(role, precision)) for role in roles}


def _types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {i.name: i.data_type for i in graph.initializer}


def test_there_is_a_set_for_each_precision_with_the_roles_of_fp32(exported: ExportResult) -> None:
    graphs = exported.bundle.manifest.graphs
    assert list(graphs) == ["fp32", "fp16", "bf16"]
    assert list(graphs["fp16"]) == list(graphs["bf16"]) == list(graphs["fp32"])
    assert all(check.passed for check in exported.checks)
    assert {check.precision for check in exported.checks} == {"fp32", "fp16", "bf16"}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_ends_of_a_graph_have_the_promised_types(exported: ExportResult, precision: str) -> None:
    inner = {"fp16": "float16", "bf16": "bfloat16"}[precision]
    for role, graph in exported.bundle.graphs(precision).items():
        model = _graphs(exported.bundle, precision)[role]
        onnx.checker.check_model(model, full_check=True)
        types = _types(model)
        for tensor in (*graph.inputs, *graph.outputs):
            known = "float32" if tensor.name in EXACT else inner
            assert tensor.dtype == ("int32" if tensor.name == "index" else known), tensor.name
            described = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
            assert types[tensor.name] == described, tensor.name


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_every_layer_is_typed_and_no_weight_kept_twice(
    exported: ExportResult, precision: str
) -> None:
    for model in _graphs(exported.bundle, precision).values():
        types = _types(model)
        layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
        for node in layers:
            is_position = node.input[0] == "offset"
            expected = TensorProto.FLOAT if is_position else ONNX[precision]
            assert {types[name] for name in (*node.input, *node.output)} == {expected}
        names = [i.name for i in model.graph.initializer]
        assert len(names) == len(set(names))
        assert set(names) <= {name for node in model.graph.node for name in node.input}


def test_normalisation_positions_and_final_sums_stay_float32(exported: ExportResult) -> None:
    for role, model in _graphs(exported.bundle, "fp16").items():
        types = _types(model)
        makers = {name: node for node in model.graph.node for name in node.output}
        if role in ("backbone", "network"):
            (first,) = [node for node in model.graph.node if "image" in node.input]
            assert types[first.output[0]] == TensorProto.FLOAT
        if role == "network":
            assert makers["upscaled"].op_type == "Add"
            assert {types[name] for name in makers["upscaled"].input} == {TensorProto.FLOAT}
        if role not in ("backbone", "network"):
            (gather,) = [node for node in model.graph.node if node.op_type == "Gather"]
            assert types[gather.output[0]] == TensorProto.FLOAT16
            sums = [node for node in model.graph.node if node.op_type == "Add"]
            assert all(types[node.output[0]] == TensorProto.FLOAT for node in sums)


def test_names_and_metadata_carry_the_precision(exported: ExportResult) -> None:
    bundle, names = exported.bundle, []
    for precision in bundle.manifest.graphs:
        for role, model in _graphs(bundle, precision).items():
            metadata = {entry.key: entry.value for entry in model.metadata_props}
            assert (metadata["pcsr.precision"], metadata["pcsr.role"]) == (precision, role)
            names.append(model.graph.name)
    assert len(set(names)) == len(names)


def test_the_fp32_set_is_the_same_without_the_others(tmp_path: Path) -> None:
    ckpt = _checkpoint("fsrcnn", 0, tmp_path)
    both = export_bundle(ckpt, tmp_path / "both", ALL).bundle.manifest
    alone = export_bundle(ckpt, tmp_path / "alone", ExportOptions()).bundle.manifest
    assert alone.graphs == {"fp32": both.graphs["fp32"]}
    assert (alone.costs, alone.model, alone.vectors) == (both.costs, both.model, both.vectors)


def test_quality_is_reported_in_the_manifest(exported: ExportResult) -> None:
    checks = [c for c in exported.bundle.manifest.verification if "psnr_loss_db" in c]
    assert {check["precision"] for check in checks} == {"fp16", "bf16"}
    has_routing = exported.bundle.upsamplers > 0
    assert all((check["pixels"] > 0) == has_routing for check in checks)
    assert all(check["psnr_loss_db"] <= check["allowed_db"] for check in checks)
    ways = {check["what"].split(", ")[-1] for check in checks if check["precision"] == "fp16"}
    assert ways == {"every result rounded", "in ONNX Runtime"}


# The conversion


def _graph(module: nn.Module) -> onnx.ModelProto:
    program = torch.onnx.export(
        deployable(module.eval()),
        (torch.rand(1, 3, 12, 9),),
        input_names=["image"],
        output_names=["features"],
        dynamic_shapes=({2: "h", 3: "w"},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("carn", {"nf": 12, "no_upsampling": True}),
        ("imdn", {"nb": 1, "no_upsampling": True}),
        ("fsrcnn", {"d": 10, "s": 4, "m": 1, "no_upsampling": True}),
    ],
)
def test_a_rounded_graph_computes_what_typed_pytorch_computes(
    name: str, args: dict[str, Any], precision: str
) -> None:
    """PyTorch rounds behind every layer too, from sums in float32."""
    torch.manual_seed(0)
    backbone = make_backbone(name, args).eval()
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    image = torch.rand(1, 3, 13, 17)
    with torch.no_grad():
        exact = backbone(image).numpy()
        expected = deployable(backbone).to(half)(image.to(half)).float().numpy()
    model = to_half_precision(_graph(backbone), "backbone", precision)
    backend = RoundingRunner({"backbone": model.SerializeToString()}, precision)
    (found,) = backend.run_image("backbone", image.numpy(), ["features"])
    step = {"fp16": 2.0**-10, "bf16": 2.0**-7}[precision]
    assert np.array_equal(found, found.astype(NUMPY[precision]).astype(np.float32))
    noise = np.abs(expected - exact).mean()
    assert 0.01 * step < noise < step, "the rounding is there"
    assert np.abs(found - expected).mean() < 0.75 * noise
    assert np.abs(found - exact).mean() < 1.25 * noise


def test_a_rounded_graph_keeps_its_casts() -> None:
    """One multiplication, whose product needs more than 11 bits."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight"], ["features"])],
        "product",
        [value("image", TensorProto.FLOAT, [1, 1, "h", "w"])],
        [value("features", TensorProto.FLOAT, [1, 1, "h", "w"])],
        [numpy_helper.from_array(np.full((1, 1, 1, 1), 1.0009765625, np.float32), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    half = to_half_precision(model, "backbone", "fp16")
    backend = RoundingRunner({"backbone": half.SerializeToString()}, "fp16")
    image = np.full((1, 1, 2, 3), 1.0009765625, np.float32)
    (found,) = backend.run_image("backbone", image, ["features"])
    assert (found == 1.001953125).all()  # exact: 1.00195407867
    assert emulated(half).graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_channels_are_padded_to_eights() -> None:
    model = pad_channels(_graph(make_backbone("srresnet", {"nf": 58, "nb": 1})), GPU_BLOCK)
    grouped = pad_channels(_graph(make_backbone("carn", {"nf": 52})), GPU_BLOCK)
    for padded, width in ((model, 64), (grouped, 64)):
        used = {node.input[1] for node in padded.graph.node if node.op_type == "Conv"}
        shapes = [tuple(i.dims) for i in padded.graph.initializer if i.name in used]
        assert any(shape[0] == width for shape in shapes)
        half = to_half_precision(padded, "network", "fp16")
        onnx.checker.check_model(half, full_check=True)


def test_batch_norm_is_folded_before_halving() -> None:
    """A variance that fp16 holds only as zero."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
    norm, conv = module[1], module[0]
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(conv, nn.Conv2d)
    nn.init.constant_(norm.running_var, 1e-9)  # type: ignore[arg-type]
    norm.eps = 1e-12
    with torch.no_grad():
        conv.weight *= 1e-4
        image = torch.rand(1, 3, 9, 8)
        expected = module.eval()(image).numpy()
    model = to_half_precision(_graph(module), "backbone", "fp16")
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    backend = RoundingRunner({"backbone": model.SerializeToString()}, "fp16")
    (found,) = backend.run_image("backbone", image.numpy(), ["features"])
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


# Options and defects


def test_fp32_is_always_there_and_first() -> None:
    assert check_precisions(["bf16", "fp16", "bf16"]) == ("fp32", "fp16", "bf16")
    assert check_precisions([]) == ("fp32",)
    with pytest.raises(UsageError, match="unknown precision 'int8'"):
        check_precisions(["fp32", "int8"])


def _large(role: str, factor: float, folder: Path) -> Path:
    """An FSRCNN whose backbone's first layer, or its first activation, is too large for fp16; its
    result is not.
    """
    network = checkpoints.pcsr_network("fsrcnn")
    weights = network.encoder.state_dict()
    head, shrink = weights["head_conv.0.weight"], weights["body_conv.0.0.weight"]
    if role == "weight":
        head.view(-1)[0] = factor
        shrink[:, 0] = 0
    else:
        head *= factor
        weights["head_conv.0.bias"] *= factor
        shrink /= factor
    data = checkpoints.pcsr_checkpoint(network, "fsrcnn")
    return checkpoints.save(data, folder / "large.pth")


@pytest.mark.parametrize(("role", "what"), [("weight", "weight .*head_conv"), ("image", "tensor ")])
def test_overflow_of_fp16_names_the_graph_and_suggests_bf16(
    role: str, what: str, tmp_path: Path
) -> None:
    ckpt = _large(role, 3e5, tmp_path)
    ended = export("--ckpt", ckpt, "-o", tmp_path / "b", "--precision", "fp16")
    pattern = f"backbone graph overflows in fp16 .{what}.*export bf16 instead"
    assert_refused(ended, 1, pattern)
    assert [path.name for path in tmp_path.iterdir()] == ["large.pth"]
    assert export("--ckpt", ckpt, "-o", tmp_path / "b", "--precision", "bf16").code == 0


@pytest.mark.parametrize("role", ["backbone", "classifier", "upsampler_1"])
def test_a_defect_in_a_typed_graph_is_caught(
    role: str, pcsr_ckpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(model: onnx.ModelProto, of: str, precision: str) -> onnx.ModelProto:
        half = to_half_precision(model, of, precision)
        if of == role:
            weights = [i for i in half.graph.initializer if i.data_type == ONNX[precision]]
            weight = [i for i in weights if len(i.dims) > 1][-1]
            array = numpy_helper.to_array(weight) * 2
            weight.CopyFrom(numpy_helper.from_array(array, weight.name))
        return half

    monkeypatch.setattr(exporter, "to_half_precision", planted)
    options = ExportOptions(precisions=("fp16",))
    with pytest.raises(VerificationError, match=f"failed in fp16, first {role} graph"):
        export_bundle(pcsr_ckpt, tmp_path / "bundle", options)
    assert list(tmp_path.iterdir()) == []
