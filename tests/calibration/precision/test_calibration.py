"""pcsr-calibrate precision on tiny random networks, end to end."""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.calibration.cli import main
from pcsr.calibration.evaluation.evaluation import evaluate
from pcsr.calibration.evaluation.options import EvaluationOptions
from pcsr.calibration.precision import calibration as module
from pcsr.calibration.precision import substitute
from pcsr.calibration.precision.calibration import PrecisionOptions, calibrate_precision
from pcsr.calibration.precision.copies import multiplications
from pcsr.errors import BackendError, BundleError, ImageError, UsageError
from pcsr.export.graphs.layers import Layers
from pcsr.images import Picture, write
from pcsr.metrics import bicubic_resize, degrade, psnr
from pcsr.runtime.cpu.convolutions.integer_program import has_integer_instructions
from pcsr.runtime.cpu.convolutions.runner import ConvolutionRunner
from pcsr.runtime.trials.outcome import TrialOutcome
from pcsr.runtime.upscaler import Upscaler
from tests import checkpoints
from tests.commands import assert_refused, upscale
from tests.exports import Exports

from .nets import kinds

Array = NDArray[Any]
needs_vnni = pytest.mark.skipif(
    not has_integer_instructions(), reason="this processor has no AVX-512 with VNNI"
)
LOOSE = PrecisionOptions(max_psnr_loss_db=3.0, search_px=32, threads=1)


def smooth(height: int, width: int, seed: int = 0) -> Array:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return bicubic_resize(coarse, height, width)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / "one.png", folder / "two.png"]
    for seed, path in enumerate(paths):
        write(Picture(smooth(160, 176, seed)), path)
    return paths


@pytest.fixture(scope="session")
def small_bundle(exports: Exports) -> Path:
    """Tiny random SRResNet-PCSR, M = 2, x4: five convolutions."""
    return exports.of(checkpoints.tiny("srresnet"))


@pytest.fixture(scope="session")
def quantised(
    small_bundle: Path, photos: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The small bundle with its int8 graphs."""
    path = tmp_path_factory.mktemp("int8") / "bundle"
    shutil.copytree(small_bundle, path)
    calibrate_precision(path, photos, LOOSE)
    return path


@pytest.fixture
def copy(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["precision", *map(str, arguments)])


def report_of(path: Path) -> dict[str, Any]:
    file = Bundle.load(path).manifest.calibrations["int8"]
    data: dict[str, Any] = json.loads((path / file.file).read_text())
    return data


def test_there_are_two_sets_with_the_roles_of_fp32(quantised: Path) -> None:
    bundle = Bundle.load(quantised)
    for name in ("int8", "int8-cpu"):
        graphs = bundle.graphs(name)
        assert list(graphs) == list(bundle.graphs("fp32"))
        for role, graph in graphs.items():
            onnx.checker.check_model(onnx.load_from_string(bundle.graph_bytes(role, name)))
            shared = graph.file == bundle.graphs("fp32")[role].file
            assert shared == (role != "backbone")


def test_first_and_last_layers_stay_float32(quantised: Path) -> None:
    bundle = Bundle.load(quantised)
    tensorrt = onnx.load_from_string(bundle.graph_bytes("backbone", "int8"))
    layers = Layers(tensorrt)
    reads = [
        layers.maker.get(node.input[1]) is not None
        for node in tensorrt.graph.node
        if node.op_type == "Conv"
    ]
    assert (reads[0], reads[-1]) == (False, False)
    assert sum(reads) == len(reads) - 2
    cpu = onnx.load_from_string(bundle.graph_bytes("backbone", "int8-cpu"))
    assert kinds(cpu)["QLinearConv"] == len(reads) - 2


@pytest.mark.parametrize("backend", ["native", "onnxruntime"])
def test_the_runtime_computes_what_the_report_says(
    quantised: Path, photos: list[Path], backend: str
) -> None:
    """Losses of the CPU's set, image by image."""
    report = report_of(quantised)
    (target,) = (target for target in report["targets"] if target["target"] == "cpu")
    found = evaluate(quantised, photos, EvaluationOptions(precision="int8", backend=backend))
    before = evaluate(quantised, photos, EvaluationOptions(backend=backend))
    scores = [s for s in found.scores if s.method == "k=0"]
    references = [s for s in before.scores if s.method == "k=0"]
    for figures, score, reference in zip(target["images"], scores, references, strict=True):
        assert figures["psnr_db"] == pytest.approx(score.psnr_rgb_db, abs=0.01)
        assert figures["psnr_fp32_db"] == pytest.approx(reference.psnr_rgb_db, abs=0.01)
        assert figures["psnr_loss_db"] == pytest.approx(
            figures["psnr_fp32_db"] - figures["psnr_db"]
        )


def test_auto_is_native_and_really_int8(quantised: Path) -> None:
    _, lr = degrade(smooth(200, 180, seed=5), 4)
    int8, fp32 = Upscaler(quantised, precision="int8"), Upscaler(quantised)
    assert int8.backend == "native"
    found, expected = int8(lr).image, fp32(lr).image
    assert 30 < psnr(found, expected) < 90


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("backend", ["native", "onnxruntime"])
def test_a_number_that_is_none_is_refused(
    value: float, backend: str, quantised: Path, tmp_path: Path
) -> None:
    """Codes would hide it: of a first layer's bias nothing infinite reaches the features."""
    bundle = Path(shutil.copytree(quantised, tmp_path / "bundle"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    entry = manifest["graphs"]["int8-cpu"]["backbone"]
    model = onnx.load(bundle / entry["file"])
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    (bias,) = [one for one in model.graph.initializer if one.name == first.input[2]]
    values = np.array(onnx.numpy_helper.to_array(bias))
    values[0] = value
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    (bundle / entry["file"]).write_bytes(model.SerializeToString())
    entry["sha256"] = hashlib.sha256(model.SerializeToString()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    options = ("--precision", "int8", "--backend", backend)
    ended = upscale(bundle, tmp_path / "in.png", tmp_path / "out.png", *options)
    assert_refused(ended, 2, "is no backbone graph of a bundle .*holds NaN or infinite values")


def test_tiles_give_the_same_as_the_whole_image(quantised: Path) -> None:
    _, lr = degrade(smooth(360, 340, seed=5), 4)
    whole = Upscaler(quantised, precision="int8")(lr)
    tiled = Upscaler(quantised, precision="int8", tile_px=32)(lr)
    assert np.abs(whole.image.astype(int) - tiled.image.astype(int)).max() <= 1


def test_the_report_has_what_was_found(quantised: Path, photos: list[Path]) -> None:
    report = report_of(quantised)
    assert [image["file"] for image in report["images"]] == [str(path) for path in photos]
    assert report["options"]["max_psnr_loss_db"] == 3.0
    cpu, tensorrt = report["targets"]
    assert (cpu["graphs"], tensorrt["graphs"]) == ("int8-cpu", "int8")
    for target in (cpu, tensorrt):
        assert [layer["quantised"] for layer in target["layers"]][:: len(target["layers"]) - 1] == [
            False,
            False,
        ]
        errors = [layer["error"] for layer in target["layers"][1:-1]]
        assert min(errors) >= 0 < max(errors)
        losses = [image["psnr_loss_db"] for image in target["images"]]
        assert target["mean"]["psnr_loss_db"] == pytest.approx(np.mean(losses))
        assert 0.5 < target["mean"]["routing_agreement"] <= 1
    speed = cpu["speed"]
    assert speed["graph_speedup"] == pytest.approx(speed["graph_fp32_ms"] / speed["graph_ms"])
    assert speed["engine"] == "ONNX Runtime"  # this network's sums are float32
    assert tensorrt["speed"] is None


@needs_vnni
def test_the_speed_is_that_of_what_will_serve(
    photos: list[Path], exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CARN's graph runs in pcsr's own convolutions, which are about as fast or faster, in copies,
    too; the report names what the trial takes, and it is what is timed.
    """
    path = Path(shutil.copytree(exports.of(checkpoints.tiny("carn")), tmp_path / "bundle"))
    runs, real = list[str](), ConvolutionRunner.run_image

    def counted(runner: ConvolutionRunner, role: str, *arguments: Any) -> Any:  # noqa: ANN401
        runs.append(role)
        return real(runner, role, *arguments)

    def first(runners: dict[str, Any], _probe: Any, preferred: str) -> TrialOutcome:  # noqa: ANN401
        assert [*runners] == ["ONNX Runtime", preferred]
        return TrialOutcome(preferred, dict.fromkeys(runners, 1.0), {})

    monkeypatch.setattr(ConvolutionRunner, "run_image", counted)
    monkeypatch.setattr("pcsr.calibration.precision.speed.tried", first)
    calibrate_precision(path, photos[:1], LOOSE)
    cpu, _ = report_of(path)["targets"]
    assert cpu["speed"]["engine"] == "native convolutions"
    assert len(runs) >= 2 * (1 + cpu["speed"]["rounds"])  # the graph alone, and whole calls
    assert cpu["copied"]
    graph = onnx.load_from_string(Bundle.load(path).graph_bytes("backbone", "int8-cpu"))
    assert multiplications(graph) > sum(layer["weights"] for layer in cpu["layers"])


def test_again_replaces_the_old_graphs(quantised: Path, photos: list[Path], tmp_path: Path) -> None:
    path = Path(shutil.copytree(quantised, tmp_path / "bundle"))
    before = {p.relative_to(path) for p in path.rglob("*") if p.is_file()}
    calibrate_precision(path, photos[:1], LOOSE)
    after = {p.relative_to(path) for p in path.rglob("*") if p.is_file()}
    assert len(after) == len(before)
    assert len(report_of(path)["images"]) == 1
    assert not list(tmp_path.glob(".*"))


def test_an_interrupted_run_goes_on_and_gives_the_same(
    copy: Path, quantised: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = substitute.open_graph, list[int]()

    def interrupted(*arguments: Any) -> Any:  # noqa: ANN401
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    before = (copy / "manifest.json").read_bytes()
    monkeypatch.setattr(module, "open_graph", interrupted)
    with pytest.raises(KeyboardInterrupt):
        calibrate_precision(copy, photos, LOOSE)
    assert (copy / "manifest.json").read_bytes() == before
    assert len(list(copy.parent.glob(".bundle.pcsr-calibrate-*.json"))) == 1
    first = len(calls)
    calibrate_precision(copy, photos, LOOSE)
    again = len(calls) - first
    sets = [
        Bundle.load(path).graphs(name)["backbone"]
        for path in (copy, quantised)
        for name in ("int8", "int8-cpu")
    ]
    assert [graph.sha256 for graph in sets[:2]] == [graph.sha256 for graph in sets[2:]]
    calls[:] = [0] * 4
    calibrate_precision(copy, photos, LOOSE)
    assert again < len(calls) - 4
    assert not list(copy.parent.glob(".bundle.*"))


def test_inputs_alone_are_enough(copy: Path, photos: list[Path]) -> None:
    options = PrecisionOptions(lr_only=True, min_fidelity_db=20, scale=2, search_px=64, threads=1)
    calibrate_precision(copy, photos[:1], options)
    cpu = report_of(copy)["targets"][0]
    assert cpu["mean"]["psnr_loss_db"] is None
    assert cpu["mean"]["fidelity_db"] >= 20


@pytest.mark.parametrize("name", ["plain_bundle", "three_way_bundle", "carn_like_bundle"])
def test_other_networks(
    request: pytest.FixtureRequest, name: str, photos: list[Path], tmp_path: Path
) -> None:
    path = Path(shutil.copytree(request.getfixturevalue(name), tmp_path / "bundle"))
    calibrate_precision(path, photos[:1], LOOSE)
    _, lr = degrade(smooth(160, 164, seed=3), 4)
    found = Upscaler(path, precision="int8")(lr).image
    assert psnr(found, Upscaler(path)(lr).image) > 25


def test_fp8_is_for_tensorrt_alone(copy: Path, photos: list[Path]) -> None:
    options = PrecisionOptions("fp8", max_psnr_loss_db=10, search_px=32, threads=1)
    calibrate_precision(copy, photos[:1], options)
    manifest = Bundle.load(copy).manifest
    assert (list(manifest.graphs), list(manifest.calibrations)) == (["fp32", "fp8"], ["fp8"])
    with pytest.raises(BackendError, match="fp8 does not run on the CPU"):
        Upscaler(copy, precision="fp8")


def test_what_cannot_run_int8_says_so(quantised: Path, small_bundle: Path) -> None:
    with pytest.raises(BackendError, match="int8 does not run on the CPU with backend 'torch'"):
        Upscaler(quantised, precision="int8", backend="torch")
    with pytest.raises(UsageError, match="ask for the precision int8"):
        Upscaler(quantised, precision="int8-cpu")
    with pytest.raises(BundleError, match="make them with pcsr-calibrate precision"):
        Upscaler(small_bundle, precision="int8")


def test_unreadable_images_are_listed(copy: Path, photos: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    found = run(copy, photos[0], bad)
    assert (found.exit_code, "these images cannot be used" in found.stderr) == (1, True)
    assert str(bad) in found.stderr
    assert found.stderr.count("\n") == 1


def test_images_smaller_than_the_reach_are_listed(copy: Path, tmp_path: Path) -> None:
    write(Picture(smooth(16, 200)), tmp_path / "small.png")
    with pytest.raises(ImageError, match=r"reach of \d+ px: .*small\.png \(50x4\)"):
        calibrate_precision(copy, [tmp_path / "small.png"], LOOSE)


def test_nonsense_is_refused(copy: Path, photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no .png" in run(copy, tmp_path / "empty").stderr
    assert run(copy, photos[0], "--format", "int4").exit_code == 2
    assert run(copy, photos[0], "--no-such-option").exit_code == 2
    assert "is not a bundle" in run(tmp_path, photos[0]).stderr
    (copy / "fp32" / "upsampler_0.onnx").write_bytes(b"damaged")
    assert "is damaged: sha256" in run(copy, photos[0]).stderr


def test_the_command_prints_tables_or_json(copy: Path, photos: list[Path]) -> None:
    options = ("--max-psnr-loss-db", "3", "--search-px", "32", "--threads", "1")
    found = run(copy, photos[0], *options)
    assert found.exit_code == 0, found.stderr
    for word in ("loss alone dB", "routing equal %", "convolutions quantised", "image graph"):
        assert word in found.stdout
    printed = run(copy, photos[0], *options, "--json", "-")
    assert json.loads(printed.stdout)["precision"] == "int8"
    assert [target["target"] for target in json.loads(printed.stdout)["targets"]] == [
        "cpu",
        "tensorrt",
    ]


def test_engines_are_built_of_int8_and_not_of_the_form_for_cpus(
    quantised: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    from pcsr.runtime.tensorrt.cli import main as build
    from pcsr.runtime.tensorrt.library import load_library

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    load_library.cache_clear()
    path = Path(shutil.copytree(quantised, tmp_path / "bundle"))
    found = CliRunner().invoke(build, [str(path), "--precision", "int8"])
    assert found.exit_code == 0, found.stderr
    assert len(list((path / "engines").rglob("*.engine"))) == 4
    refused = CliRunner().invoke(build, [str(path), "--precision", "int8-cpu"])
    assert "build int8 instead" in refused.stderr
    load_library.cache_clear()
