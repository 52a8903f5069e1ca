"""The example host, written from docs/bundle.md alone, computes what the runtime computes."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pcsr import Upscaler

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "minimal_host.py"


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("minimal_host", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["carn_like_bundle", "three_way_bundle", "single_bundle"])
@pytest.mark.parametrize(
    ("size", "scale", "k"), [((13, 17), 2.5, 0.0), ((1, 5), 4, 0.0), ((9, 8), 3, 0.6)]
)
def test_a_host_from_the_document_equals_the_runtime(
    name: str, size: tuple[int, int], scale: float, k: float, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue(name)
    image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    if name == "single_bundle":
        k = 0.0  # one upsampler: nothing to weigh
    found = load_example().upscale(bundle, image, scale, k)
    for backend in ("native", "onnxruntime"):
        upscaler = Upscaler(bundle, backend=backend)
        np.testing.assert_allclose(found, upscaler(image, scale, k).image, atol=2e-6)


@pytest.mark.parametrize(("size", "scale"), [((13, 17), 2.5), ((1, 5), 3), ((9, 8), 4)])
def test_upsamplers_of_every_kind(
    size: tuple[int, int], scale: float, mixed_bundle: Path, liif_bundle: Path
) -> None:
    image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    for bundle in (mixed_bundle, liif_bundle):
        found = load_example().upscale(bundle, image, scale)
        for backend in ("native", "onnxruntime"):
            upscaler = Upscaler(bundle, backend=backend)
            np.testing.assert_allclose(found, upscaler(image, scale).image, atol=2e-6)


def test_another_kind_or_format_is_refused(
    plain_bundle: Path, carn_like_bundle: Path, tmp_path: Path
) -> None:
    host = load_example()
    image = np.zeros((3, 4, 3), np.float32)
    with pytest.raises(ValueError, match="not a PCSR bundle of format 5"):
        host.upscale(plain_bundle, image, 4)
    text = (carn_like_bundle / "manifest.json").read_text(encoding="utf-8")
    newer = text.replace('"format_version": 5', '"format_version": 6')
    assert newer != text
    (tmp_path / "manifest.json").write_text(newer, encoding="utf-8")
    with pytest.raises(ValueError, match="not a PCSR bundle of format 5"):
        host.upscale(tmp_path, image, 4)


@pytest.mark.parametrize("name", ["carn_like_bundle", "three_way_bundle"])
def test_the_formula_of_the_document_gives_what_the_row_graphs_give(
    name: str, request: pytest.FixtureRequest
) -> None:
    """mlps.npz, read with NumPy alone."""
    host, bundle = load_example(), request.getfixturevalue(name)
    manifest = host.read_manifest(bundle)
    graphs = manifest["graphs"]["fp32"]
    image = np.random.default_rng(0).random((1, 3, 5, 7), dtype=np.float32)
    with np.load(bundle / manifest["mlps"]["file"]) as file:
        arrays = dict(file)
    backbone = host.open_session(bundle, graphs["backbone"])
    features = backbone.run(["features"], {"image": image})[0]
    offset, cell = np.array([0.3, -0.2], np.float32), np.array([0.5, 0.7], np.float32)
    pixel = (3, 4)
    for role in set(graphs) - {"backbone"}:
        w = {key.partition(".")[2]: a for key, a in arrays.items() if key.startswith(f"{role}.")}
        x = w["feature_weight"] @ features[0, :, *pixel] + w["row_weight"] * offset[0]
        x += w["column_weight"] * offset[1] + w["cell_weight"] @ cell + w["bias"]
        layer = 1
        while f"weight_{layer}" in w:
            x = w[f"weight_{layer}"] @ np.maximum(x, 0) + w[f"bias_{layer}"]
            layer += 1
        inputs = {
            "features": backbone.run([f"{role}_features"], {"image": image})[0],
            "index": np.array([pixel[0] * 7 + pixel[1]], np.int32),
            "offset": offset[None],
            "cell": cell,
        }
        expected = host.open_session(bundle, graphs[role]).run(None, inputs)[0]
        np.testing.assert_allclose(x, expected[0], atol=2e-6)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command(carn_like_bundle: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((4, 5, 3), dtype=np.float32)
    np.save(tmp_path / "in.npy", image)
    ended = run(carn_like_bundle, tmp_path / "in.npy", tmp_path / "out.npy")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    expected = load_example().upscale(carn_like_bundle, image, scale=4)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("arguments", "expected BUNDLE INPUT.npy OUTPUT.npy"),
        ("bundle", "No such file or directory"),
        ("missing", "No such file or directory"),
        ("text", "is no .npy file"),
        ("nothing", "is no .npy file"),
        ("bytes", "expected [h, w, 3] float32"),
        ("grey", "expected [h, w, 3] float32"),
        ("empty", "found [0, 5, 3] float32"),
    ],
)
def test_bad_input_is_one_line(
    carn_like_bundle: Path, tmp_path: Path, wrong: str, message: str
) -> None:
    source = tmp_path / "in.npy"
    images: dict[str, np.ndarray] = {
        "bytes": np.zeros((4, 5, 3), np.uint8),
        "grey": np.zeros((4, 5), np.float32),
        "empty": np.zeros((0, 5, 3), np.float32),
    }
    if wrong in ("text", "nothing"):
        source.write_text("no image" if wrong == "text" else "")
    elif wrong != "missing":
        np.save(source, images.get(wrong, np.zeros((4, 5, 3), np.float32)))
    bundle = tmp_path / "none" if wrong == "bundle" else carn_like_bundle
    arguments = [bundle, source, tmp_path / "out.npy"]
    ended = run(*arguments[: 2 if wrong == "arguments" else 3])
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out.npy").exists()
