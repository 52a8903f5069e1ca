"""Every graph of one file gives the image and the routing of the bundle that it was made of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from pcsr import Upscaler
from pcsr.bundle import Bundle
from pcsr.export.exporter import ExportOptions
from pcsr.export.single_file.graph import Baked, Form, build_graph
from pcsr.export.single_file.routing import difficulty
from pcsr.export.single_file.writer import GraphWriter
from pcsr.runtime.routing.rule import difficulty_logit, sigmoid
from pcsr.single_file import K
from tests import tolerances
from tests.conftest import REFERENCE
from tests.exports import Exports
from tests.runtime.compare import assert_images_agree, assert_routed_alike

from .made import Case, Floats, as_batch, by_onnxruntime, by_runtime, open_any

OURS = Path(__file__).parents[3] / "training" / "checkpoints" / "fsrcnn-pcsr-x4.pth"
DATA_DEPENDENT = {"NonZero", "ScatterND", "ScatterElements", "Loop", "If", "Unique", "Compress"}
ODD = (13, 17)
HALF = 1e-6  # CPUs compute fp16 in float32 between casts: 2e-7 at worst


@pytest.mark.parametrize("form", ["sparse", "dense"])
@pytest.mark.parametrize("k", [0.4, None])
@pytest.mark.parametrize("name", ["carn_like_bundle", "three_way_bundle"])
def test_each_routing_in_each_form(
    name: str, k: float | None, form: Form, request: pytest.FixtureRequest
) -> None:
    Case(request.getfixturevalue(name), Baked(4, k, form=form), ODD).check()


@pytest.mark.parametrize("k", [1e6, -1e6])
def test_all_light_and_all_heavy(carn_like_bundle: Path, k: float) -> None:
    Case(carn_like_bundle, Baked(2, k), ODD).check()


@pytest.mark.parametrize("scale", [1, 3, 5])
@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_whole_scales(carn_like_bundle: Path, scale: int, form: Form) -> None:
    """5 is computed in bands."""
    Case(carn_like_bundle, Baked(scale, 0.0, form=form), ODD).check()


@pytest.mark.parametrize(("scale", "k"), [(1.3, None), (2.5, 0.0), (12.5, None)])
def test_fractional_scales(three_way_bundle: Path, scale: float, k: float | None) -> None:
    Case(three_way_bundle, Baked(scale, k), ODD).check()


@pytest.mark.parametrize(
    ("scale", "k", "size"),
    [(4, 0.0, (1, 1)), (3, None, (1, 7)), (2.5, 0.0, (2, 1)), (2.5, None, (64, 48))],
)
def test_sizes(carn_like_bundle: Path, scale: float, k: float, size: tuple[int, int]) -> None:
    Case(carn_like_bundle, Baked(scale, k), size).check()


@pytest.mark.parametrize(
    "baked", [Baked(3), Baked(2, form="dense", refine=False), Baked(2.5, None)], ids=str
)
def test_upsamplers_of_every_kind(mixed_bundle: Path, baked: Baked) -> None:
    """One to three upsamplers, with four neighbours or no base."""
    Case(mixed_bundle, baked, ODD).check()


@pytest.mark.parametrize("name", ["single_bundle", "liif_bundle"])
def test_one_upsampler(name: str, request: pytest.FixtureRequest) -> None:
    Case(request.getfixturevalue(name), Baked(2), ODD).check()


def test_a_plain_network_is_its_own_graph(plain_bundle: Path) -> None:
    Case(plain_bundle, Baked(4), ODD).check()


def test_a_flat_image_is_all_light_under_adm(carn_like_bundle: Path) -> None:
    for baked in (Baked(4, None), Baked(4, None, form="dense")):
        image = np.full((9, 8, 3), 0.5, np.float32)
        network = build_graph(Bundle.load(carn_like_bundle), baked).SerializeToString()
        expected = by_runtime(carn_like_bundle, baked, image).image
        assert np.abs(by_onnxruntime(network, image) - expected).max() <= tolerances.IMAGE_FP32


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_saturated_difficulties_are_level_under_adm(exports: Exports, form: Form) -> None:
    """All are exactly 1 in the bundle: the image is flat, and all light."""
    bundle = exports.of_file(OURS)
    network = open_any(Case(bundle, Baked(4, None, form=form), ODD).graph(shows_routing=True))
    with Upscaler(bundle) as upscaler:
        for seed in (8, 12, 21, 45, 49, 56):
            image = np.random.default_rng(seed).random((24, 32, 3), dtype=np.float32)
            expected = upscaler(image, 4, adaptive=True)
            assert expected.stats.threshold == np.inf
            found, assignment = network.run(None, {"image": as_batch(image)})
            same = assert_routed_alike(assignment[0, 0], np.asarray(expected.assignment))
            assert_images_agree(found[0].transpose(1, 2, 0), expected.image, same)


@pytest.mark.parametrize("upsamplers", [2, 3, 4])
def test_difficulties_saturate_as_those_of_the_runtime(upsamplers: int) -> None:
    shape = (5000, 1 if upsamplers == 2 else upsamplers)
    logits = 15 * np.random.default_rng(0).standard_normal(shape, np.float32)
    expected = sigmoid(difficulty_logit(logits))
    found = run_alone(logits, lambda write: difficulty(write, "logits", upsamplers))
    assert 100 < (expected == 1).sum() < 4900
    assert (found == 1).tolist() == (expected == 1).tolist()
    assert np.abs(found - expected).max() <= tolerances.SIGMOID


def run_alone(logits: Floats, written: Callable[[GraphWriter], str]) -> Floats:
    """Runs what is written of `logits` in a graph of its own."""
    write, form = GraphWriter(), onnx.helper.make_tensor_value_info
    output = written(write)
    ends = [form(name, onnx.TensorProto.FLOAT, None) for name in ("logits", output)]
    weights = [*write.weights.values()]
    graph = onnx.helper.make_graph(write.nodes, "alone", ends[:1], ends[1:], weights)
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    found: Floats = open_any(model.SerializeToString()).run(None, {"logits": logits})[0]
    return found


def test_trained_networks(exports: Exports) -> None:
    bundle = exports.of_file(OURS)
    for baked in (Baked(4), Baked(4, None), Baked(2.5, None), Baked(4, None, form="dense")):
        Case(bundle, baked, (75, 101)).check()


@pytest.mark.slow
def test_a_published_network(exports: Exports, reference: Path) -> None:
    bundle = exports.of_file(REFERENCE / "checkpoints" / "carn-pcsr.pth")
    for baked in (Baked(4), Baked(4, None), Baked(2.5), Baked(4, 0.5, form="dense")):
        Case(bundle, baked, (75, 101)).check()


@pytest.mark.slow
@pytest.mark.parametrize("baked", [Baked(4, None), Baked(2.5)], ids=str)
def test_a_large_image(exports: Exports, baked: Baked) -> None:
    Case(exports.of_file(OURS), baked, (1500, 2000)).check()


# What hosts rely on


@pytest.mark.parametrize("form", ["sparse", "dense"])
@pytest.mark.parametrize("k", [0.25, None])
def test_one_input_and_one_output_of_the_shapes_that_hosts_take(
    carn_like_bundle: Path, form: Form, k: float | None
) -> None:
    model = build_graph(Bundle.load(carn_like_bundle), Baked(4, k, form=form))
    onnx.checker.check_model(model, full_check=True)
    (image,), (upscaled,) = model.graph.input, model.graph.output
    assert shape_of(image) == [1, 3, "h", "w"]
    assert shape_of(upscaled) == [1, 3, "4*h", "4*w"]
    for value in (image, upscaled):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    names = {tensor.name for tensor in model.graph.initializer}
    assert (K in names) == (k is not None)


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("k", [0.0, None])
def test_no_shape_of_the_dense_form_depends_on_pixels(
    three_way_bundle: Path, k: float | None
) -> None:
    bundle = Bundle.load(three_way_bundle)
    used = {node.op_type for node in build_graph(bundle, Baked(4, k, form="dense")).graph.node}
    assert not used & DATA_DEPENDENT
    assert "NonZero" in {n.op_type for n in build_graph(bundle, Baked(4, k)).graph.node}


def test_k_is_one_weight_that_can_be_changed(carn_like_bundle: Path) -> None:
    model = build_graph(Bundle.load(carn_like_bundle), Baked(4, 0.0))
    (k,) = [tensor for tensor in model.graph.initializer if tensor.name == K]
    k.CopyFrom(onnx.numpy_helper.from_array(np.array([0.4], np.float32), K))
    case = Case(carn_like_bundle, Baked(4, 0.4), ODD)
    found = by_onnxruntime(model.SerializeToString(), case.image)
    assert np.abs(found - case.expected().image).max() <= tolerances.IMAGE_FP32


def test_half_precision_is_that_of_the_bundle(exports: Exports) -> None:
    """The same graphs in the same types, in one session instead of three."""
    bundle = exports.of_file(OURS, ExportOptions(precisions=("fp16",)))
    half = Upscaler(bundle, backend="onnxruntime", precision="fp16")
    for baked in (Baked(4, precision="fp16"), Baked(4, precision="fp16", form="dense")):
        case = Case(bundle, baked, ODD)
        found = by_onnxruntime(case.graph(), case.image)
        assert np.abs(found - half(case.image, 4, k=0.0).image).max() <= HALF
