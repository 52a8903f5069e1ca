"""Every exported graph goes through the vendor's own parser and builder."""

import math
from pathlib import Path

import onnx
import pytest

from pcsr import Bundle, EngineError, UsageError
from pcsr.export.analysis import shapes_at
from pcsr.runtime.tensorrt.build import (
    BuildOptions,
    build_plan,
    check_options,
    most_pixels,
    parse,
)
from pcsr.runtime.tensorrt.library import Library
from pcsr.runtime.tensorrt.profiles import (
    MOST_ELEMENTS,
    Profile,
    Shapes,
    choose_profile,
    row_limits,
)
from pcsr.runtime.tensorrt.target import PORTABLE, Target

from .graphs import retype, unsupported

ANY_GPU = Target(PORTABLE, ())
SMALL = Profile((1, 1), (8, 9), (16, 16))
BUNDLES = [
    "carn_like_bundle",
    "three_way_bundle",
    "single_bundle",
    "imdn_bundle",
    "plain_bundle",
    "plain_carn_bundle",
]
PROFILES = {"dynamic": Shapes(), "static": Shapes.static((24, 33))}


@pytest.fixture(params=BUNDLES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return Bundle.load(request.getfixturevalue(request.param))


def image_role(bundle: Bundle) -> str:
    return "network" if bundle.kind == "plain" else "backbone"


def build_all(library: Library, bundle: Bundle, shapes: Shapes) -> None:
    pixels, rows = row_limits(bundle.manifest.model)
    for precision, graphs in bundle.manifest.graphs.items():
        image = bundle.graph_bytes(image_role(bundle), precision)
        limit = min(pixels, most_pixels(library, image, image_role(bundle)))
        profile = choose_profile(shapes, limit, rows)
        for role in graphs:
            onnx_file = bundle.graph_bytes(role, precision)
            plan = build_plan(library, onnx_file, role, profile, BuildOptions(), ANY_GPU)
            assert len(plan) > 1000


@pytest.mark.parametrize("shapes", PROFILES)
def test_every_graph_builds(library: Library, bundle: Bundle, shapes: str) -> None:
    build_all(library, bundle, PROFILES[shapes])


@pytest.mark.parametrize("shapes", PROFILES)
@pytest.mark.parametrize("model", ["carn", "fsrcnn", "srresnet"])
def test_every_published_network_builds(
    library: Library, published_bundles: dict[str, Bundle], model: str, shapes: str
) -> None:
    build_all(library, published_bundles[model], PROFILES[shapes])


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_builds(library: Library, bundle: Bundle, precision: str) -> None:
    for role in bundle.graphs("fp32"):
        typed = retype(bundle.graph_bytes(role), precision)
        if precision == "bf16" and b"ConvTranspose" in typed:  # TensorRT-RTX 1.7 has none in bf16
            with pytest.raises(EngineError, match=r"cannot build the network engine: .*deconv"):
                build_plan(library, typed, role, SMALL, BuildOptions(), ANY_GPU)
        else:
            assert build_plan(library, typed, role, SMALL, BuildOptions(), ANY_GPU)


def test_the_backbone_gives_features_alone(library: Library, carn_like_bundle: Path) -> None:
    onnx_file = Bundle.load(carn_like_bundle).graph_bytes("backbone")
    network = parse(library, onnx_file, "backbone").network
    assert network.num_outputs == 1
    assert network.get_output(0).name == "features"


def test_rows_may_be_none(library: Library, carn_like_bundle: Path) -> None:
    assert SMALL.row_counts[0] == 0
    onnx_file = Bundle.load(carn_like_bundle).graph_bytes("upsampler_0")
    assert build_plan(library, onnx_file, "upsampler_0", SMALL, BuildOptions(), ANY_GPU)


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
    onnx_file = Bundle.load(plain_bundle).graph_bytes("network")
    args = (library, onnx_file, "network", SMALL, BuildOptions())
    limited, portable = (build_plan(*args, Target(PORTABLE, sms)) for sms in (capabilities, ()))
    assert len(limited) != len(portable)


def test_options_reach_the_builder(library: Library, plain_bundle: Path) -> None:
    onnx_file = Bundle.load(plain_bundle).graph_bytes("network")
    options = BuildOptions(opt_level=0, workspace_mib=64, hardware_compatible="ampere-plus")
    assert build_plan(library, onnx_file, "network", SMALL, options, ANY_GPU)


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
    backwards = Profile((9, 9), (8, 8), (7, 7))
    with pytest.raises(EngineError, match="backbone"):
        build_plan(library, onnx_file, "backbone", backwards, BuildOptions(), ANY_GPU)
