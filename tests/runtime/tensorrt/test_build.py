"""Every exported graph goes through the vendor's own parser and builder."""

import math
from pathlib import Path
from unittest.mock import Mock

import onnx
import pytest

from pcsr import Bundle, EngineError, UsageError
from pcsr.export.graphs.analysis import shapes_at
from pcsr.export.graphs.half_precision import to_half_precision
from pcsr.runtime.tensorrt.build import (
    BuildOptions,
    build_plan,
    check_options,
    make_config,
    most_pixels,
    parse,
)
from pcsr.runtime.tensorrt.library import Library
from pcsr.runtime.tensorrt.profiles import (
    MOST_ELEMENTS,
    ShapeProfile,
    Shapes,
    choose_profile,
    row_limits,
)
from pcsr.runtime.tensorrt.target import AMPERE_PLUS, PORTABLE, SAME_COMPUTE_CAPABILITY, Target

from .graphs import unsupported

ANY_GPU = Target(PORTABLE, ())
SMALL = ShapeProfile((1, 1), (8, 9), (16, 16))
BUNDLES = [
    "carn_like_bundle",
    "three_way_bundle",
    "single_bundle",
    "imdn_bundle",
    "liif_bundle",
    "plain_bundle",
    "plain_carn_bundle",
]
PRECISIONS = ["fp32", "fp16", "bf16"]
PROFILES = {"dynamic": Shapes(), "static": Shapes.static((24, 33))}


@pytest.fixture(params=BUNDLES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return Bundle.load(request.getfixturevalue(request.param))


def build_all(library: Library, bundle: Bundle, shapes: Shapes, precision: str) -> None:
    pixels, rows = row_limits(bundle.manifest.model)
    graphs = {role: graph_of(bundle, role, precision) for role in bundle.graphs("fp32")}
    limit = most_pixels(library, graphs[bundle.image_role], bundle.image_role)
    profile = choose_profile(shapes, min(pixels, limit), rows)
    for role, onnx_file in graphs.items():
        plan = build_plan(library, onnx_file, role, profile, BuildOptions(), ANY_GPU)
        assert len(plan) > 1000


def graph_of(bundle: Bundle, role: str, precision: str) -> bytes:
    """As the exporter writes it."""
    onnx_file = bundle.graph_bytes(role)
    if precision == "fp32":
        return onnx_file
    model = to_half_precision(onnx.load_from_string(onnx_file), role, precision)
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shapes", PROFILES)
def test_every_graph_builds(library: Library, bundle: Bundle, shapes: str, precision: str) -> None:
    build_all(library, bundle, PROFILES[shapes], precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shapes", PROFILES)
@pytest.mark.parametrize("model", ["carn", "fsrcnn", "srresnet"])
def test_every_published_network_builds(
    library: Library,
    published_bundles: dict[str, Bundle],
    model: str,
    shapes: str,
    precision: str,
) -> None:
    build_all(library, published_bundles[model], PROFILES[shapes], precision)


def test_the_backbone_gives_features_alone(library: Library, carn_like_bundle: Path) -> None:
    onnx_file = Bundle.load(carn_like_bundle).graph_bytes("backbone")
    network = parse(library, onnx_file, "backbone").network
    assert network.num_outputs == 1
    assert network.get_output(0).name == "features"


def test_rows_may_be_none(library: Library, carn_like_bundle: Path) -> None:
    assert SMALL.row_counts[0] == 0
    onnx_file = Bundle.load(carn_like_bundle).graph_bytes("upsampler_0")
    assert build_plan(library, onnx_file, "upsampler_0", SMALL, BuildOptions(), ANY_GPU)


def test_upsamplers_of_different_kinds_build(library: Library, mixed_bundle: Path) -> None:
    build_all(library, Bundle.load(mixed_bundle), Shapes(), "fp32")


@pytest.mark.parametrize("name", ["plain_bundle", "plain_carn_bundle"])
def test_the_widest_tensor_is_the_one_that_onnx_infers(
    library: Library, name: str, request: pytest.FixtureRequest
) -> None:
    onnx_file = Bundle.load(request.getfixturevalue(name)).graph_bytes("network")
    model = onnx.load_from_string(onnx_file)
    weights = {tensor.name for tensor in model.graph.initializer}
    shapes = shapes_at(model, {"h": 16, "w": 16})
    widest = max(math.prod(shape) for name, shape in shapes.items() if name not in weights)
    assert most_pixels(library, onnx_file, "network") == MOST_ELEMENTS * 16**2 // widest


@pytest.mark.parametrize("capabilities", [("8.9",), ("8.0", "12.0")])
def test_compute_capabilities(
    library: Library, plain_bundle: Path, capabilities: tuple[str, ...]
) -> None:
    target, trt = Target(PORTABLE, capabilities), library.trt
    config = make_config(library, trt.Builder(library.log), BuildOptions(), target)
    found = [config.get_compute_capability(i) for i in range(config.num_compute_capabilities)]
    names = {"8.0": "SM80", "8.9": "SM89", "12.0": "SM120"}
    assert found == [getattr(trt.ComputeCapability, names[name]) for name in capabilities]
    onnx_file = Bundle.load(plain_bundle).graph_bytes("network")
    assert build_plan(library, onnx_file, "network", SMALL, BuildOptions(), target)


def test_options_reach_the_builder(library: Library) -> None:
    trt = library.trt
    options = BuildOptions(1, 64, True, "ampere-plus")
    config = make_config(library, trt.Builder(library.log), options, ANY_GPU)
    assert config.builder_optimization_level == 1
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 64 << 20
    assert config.get_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    plain = make_config(library, trt.Builder(library.log), BuildOptions(), ANY_GPU)
    assert not plain.get_flag(trt.BuilderFlag.TF32)
    assert not plain.get_flag(trt.BuilderFlag.VERSION_COMPATIBLE)


@pytest.mark.parametrize("level", [AMPERE_PLUS, SAME_COMPUTE_CAPABILITY])
def test_hardware_compatibility_is_set(library: Library, level: str) -> None:
    """On a stand-in: TensorRT-RTX ignores it, which is why it is refused there."""
    builder, options = Mock(), BuildOptions(hardware_compatible=level)
    found = make_config(library, builder, options, ANY_GPU).hardware_compatibility_level
    assert found.name == level.upper().replace("-", "_")


@pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
def test_a_timing_cache_is_read_and_written_whole(
    library: Library, plain_bundle: Path, tmp_path: Path
) -> None:
    onnx_file = Bundle.load(plain_bundle).graph_bytes("network")
    cache = tmp_path / "timing.cache"
    for _ in range(2):
        assert build_plan(library, onnx_file, "network", SMALL, BuildOptions(), ANY_GPU, cache)
        assert cache.stat().st_size > 0
        assert list(tmp_path.iterdir()) == [cache]
    with pytest.raises(EngineError, match=r"the timing cache .* cannot be read"):
        build_plan(library, onnx_file, "network", SMALL, BuildOptions(), ANY_GPU, tmp_path)


def test_what_the_library_does_not_have_is_refused(library: Library, tmp_path: Path) -> None:
    for options, cache, name in [
        (BuildOptions(version_compatible=True), None, "--version-compatible"),
        (BuildOptions(hardware_compatible="ampere-plus"), None, "--hardware-compatible"),
        (BuildOptions(), tmp_path / "cache", "--timing-cache"),
    ]:
        with pytest.raises(UsageError, match=name):
            check_options(library, options, cache)


# Refusals


def test_what_is_no_graph(library: Library) -> None:
    with pytest.raises(EngineError, match=r"RTX 1.* cannot parse the network graph: .*ONNX"):
        build_plan(library, b"no graph", "network", SMALL, BuildOptions(), ANY_GPU)


def test_an_operator_that_it_does_not_have(library: Library) -> None:
    with pytest.raises(EngineError, match="network") as caught:
        build_plan(library, unsupported(), "network", SMALL, BuildOptions(), ANY_GPU)
    assert "NonZero" in str(caught.value) or "nonzero" in str(caught.value).lower()
    assert "\n" not in str(caught.value)


def test_a_profile_that_does_not_fit(library: Library, carn_like_bundle: Path) -> None:
    onnx_file = Bundle.load(carn_like_bundle).graph_bytes("backbone")
    backwards = ShapeProfile((9, 9), (8, 8), (7, 7))
    with pytest.raises(EngineError, match="backbone"):
        build_plan(library, onnx_file, "backbone", backwards, BuildOptions(), ANY_GPU)
