"""LIIF networks, and PCSR networks whose upsamplers are evaluated in different ways: what the
authors' code computed (golden/liif_*.npz), the slow reference in NumPy, and PyTorch.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr import Upscaler
from pcsr.export.network import NetworkSettings, build_network
from pcsr.models import PCSR
from pcsr.models.checkpoint import read_checkpoint
from pcsr.runtime.geometry import grid
from tests import checkpoints, tolerances
from tests.conftest import REFERENCE
from tests.examples.test_minimal_host import load_example
from tests.exports import Exports

from . import liif
from .compare import assert_images_agree, assert_routed_alike

Floats = NDArray[np.float32]
Size = tuple[int, int]
WEIGHTS = "edsr-baseline-liif.pth"
GOLDEN = sorted((REFERENCE / "golden").glob("liif_*.npz"))
BACKENDS = ("native", "onnxruntime")
NAMES = {"local_ensemble": "ensemble", "feat_unfold": "unfold", "cell_decode": "cell"}
EVERY = [
    dict(zip(NAMES, flags, strict=True)) for flags in itertools.product([True, False], repeat=3)
]
FORMS = [*(((16, 16), options) for options in EVERY), ((), EVERY[0]), ((16,), EVERY[0])]
each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_file = pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])


def _read(path: Path) -> tuple[Floats, float, Floats]:
    """Image in [0, 1], scale, expected image."""
    with np.load(path) as file:
        image = file["lr_u8"].astype(np.float32) / np.float32(255)
        return image, float(file["scale"]), file["image"]


def _content(reference: Path) -> Any:  # noqa: ANN401
    return torch.load(reference / "checkpoints" / WEIGHTS, weights_only=True)


def golden_bundle(path: Path, reference: Path, exports: Exports) -> Path:
    if "no_ensemble" not in path.stem:
        return exports.of_file(reference / "checkpoints" / WEIGHTS)
    content = _content(reference)
    content["model"]["args"]["local_ensemble"] = False
    return exports.of(content)


def _random(size: Size) -> Floats:
    return np.random.default_rng(size).random((*size, 3), dtype=np.float32)


def _state(checkpoint: checkpoints.Data) -> dict[str, NDArray[Any]]:
    return {name: weight.numpy() for name, weight in checkpoint["model"]["sd"].items()}


def _assert_close(found: Floats, expected: NDArray[Any]) -> None:
    assert found.shape == expected.shape
    gap = np.abs(found - expected)
    assert gap.max() <= tolerances.IMAGE_FP32, f"max {gap.max():.2e}, mean {gap.mean():.2e}"


def _network(bundle: Path) -> PCSR:
    network = build_network(read_checkpoint(bundle.parent / "network.pth"), NetworkSettings())
    assert isinstance(network, PCSR)
    return network


# The authors' code


@each_backend
@each_file
def test_images_are_the_published_ones(
    path: Path, backend: str, reference: Path, exports: Exports
) -> None:
    image, scale, expected = _read(path)
    upscale = Upscaler(golden_bundle(path, reference, exports), backend=backend)
    _assert_close(upscale(image, scale).image, expected)


@each_file
def test_the_host_from_the_document_gives_the_published_images(
    path: Path, reference: Path, exports: Exports
) -> None:
    image, scale, expected = _read(path)
    bundle = golden_bundle(path, reference, exports)
    _assert_close(load_example().upscale(bundle, image, scale), expected)


@each_file
def test_the_slow_reference_is_the_published_code(path: Path, reference: Path) -> None:
    image, scale, expected = _read(path)
    options = {"ensemble": "no_ensemble" not in path.stem}
    size = (expected.shape[0], expected.shape[1])
    found = liif.upscaled(_state(_content(reference)), image, size, **options)
    _assert_close(expected, found)
    assert scale * image.shape[0] == pytest.approx(size[0], abs=0.5)


# The slow reference


@pytest.mark.parametrize(("widths", "options"), FORMS, ids=map(str, FORMS))
def test_every_form_of_the_network(
    widths: tuple[int, ...], options: dict[str, bool], exports: Exports
) -> None:
    checkpoint = checkpoints.liif_checkpoint(widths, **options)
    bundle, image = exports.of(checkpoint), _random((7, 9))
    names = {NAMES[name]: value for name, value in options.items()}
    for scale in (1, 2.5, 3, 4):
        size = (round(7 * scale), round(9 * scale))
        expected = liif.upscaled(_state(checkpoint), image, size, **names)
        for backend in BACKENDS:
            _assert_close(Upscaler(bundle, backend=backend)(image, scale).image, expected)


# PyTorch: ties, areas of zero


@each_backend
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (8, 7)])
@pytest.mark.parametrize("scale", [1, 1.5, 3, 5])
def test_ties_and_areas_of_zero_go_where_pytorch_sends_them(
    size: Size, scale: float, backend: str, liif_bundle: Path
) -> None:
    image = _random(size)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    expected = _network(liif_bundle)(batch, scale).image[0].permute(1, 2, 0).numpy()
    _assert_close(Upscaler(liif_bundle, backend=backend)(image, scale).image, expected)


@each_backend
def test_upsamplers_of_different_kinds_in_one_network(backend: str, mixed_bundle: Path) -> None:
    network, image, used = _network(mixed_bundle), _random((11, 14)), set()
    upscale = Upscaler(mixed_bundle, backend=backend)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    modes: list[dict[str, Any]] = [{"k": 0.0}, {"adaptive": True}]
    for options in modes if len(network.names) > 1 else [{}]:
        for scale in (2.5, 3, 4):
            expected = network(batch, scale, **options)
            found = upscale(image, scale, **options)
            assert found.assignment is not None
            used |= set(found.assignment.ravel().tolist())
            same = assert_routed_alike(found.assignment, expected.assignment[0].numpy())
            assert_images_agree(found.image, expected.image[0].permute(1, 2, 0).numpy(), same)
    assert used == set(range(len(network.names)))


# Tiles and streams


@pytest.mark.usefixtures("tiny_tiles")
@pytest.mark.parametrize("tile_px", [3, 16])
@each_backend
def test_tiles_are_the_whole_image(
    tile_px: int, backend: str, mixed_bundle: Path, liif_bundle: Path
) -> None:
    for bundle in (mixed_bundle, liif_bundle):
        for size, scale in (((19, 23), 2.5), ((1, 40), 3), ((33, 2), 1)):
            whole = Upscaler(bundle, backend=backend)(_random(size), scale)
            tiled = Upscaler(bundle, backend=backend, tile_px=tile_px)(_random(size), scale)
            assert np.array_equal(tiled.assignment, whole.assignment)  # type: ignore[arg-type]
            assert np.abs(tiled.image - whole.image).max() <= tolerances.IMAGE_FP32


@pytest.mark.usefixtures("tiny_tiles")
@each_backend
def test_streamed_rows_are_the_image(backend: str, mixed_bundle: Path, liif_bundle: Path) -> None:
    for bundle in (mixed_bundle, liif_bundle):
        upscale, image = Upscaler(bundle, backend=backend, tile_px=7), _random((19, 23))
        rows: list[Floats] = []
        upscale.stream(image, rows.append, 2.5)
        assert np.array_equal(np.concatenate(rows), upscale(image, 2.5).image)


@pytest.mark.usefixtures("tiny_tiles")
def test_images_so_high_that_neighbours_lie_rows_apart(
    liif_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shift of 1e-6 of the height is two rows of four million."""
    monkeypatch.setattr(grid, "SHIFT", 0.3)
    assert grid.Grid.make((19, 5), 2.5).reach_px > 1
    image = _random((19, 5))
    expected = Upscaler(liif_bundle, backend="onnxruntime")(image, 2.5).image
    _assert_close(Upscaler(liif_bundle, tile_px=1)(image, 2.5).image, expected)
