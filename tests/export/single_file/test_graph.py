"""Every graph of one file gives the image and the routing of the bundle that it was made of."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from pcsr import Upscaler
from pcsr.bundle import Bundle
from pcsr.export.exporter import ExportOptions
from pcsr.export.single_file.graph import Baked, Form, build_graph
from pcsr.export.single_file.routing import K
from tests import tolerances
from tests.conftest import REFERENCE
from tests.exports import Exports

from .made import Case, by_onnxruntime, by_runtime

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
