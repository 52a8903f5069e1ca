"""LIIF networks, and upsamplers that are evaluated in different ways, by the row graphs of the
device's pipeline, on the CPU with the torch backend.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr import Upscaler
from pcsr.bundle import Bundle
from pcsr.export.network import NetworkSettings, build_network
from pcsr.models import PCSR
from pcsr.models.checkpoint import read_checkpoint
from pcsr.runtime.gpu import frame as frames
from pcsr.runtime.gpu.runners.torch import TorchRunner
from tests import checkpoints, tolerances
from tests.conftest import REFERENCE
from tests.exports import ALL_PRECISIONS, Exports
from tests.runtime.compare import assert_images_agree, assert_routed_alike

GOLDEN = sorted((REFERENCE / "golden").glob("liif_*.npz"))
Image = NDArray[Any]


def picture(height: int, width: int) -> Image:
    return np.random.default_rng((height, width)).random((height, width, 3), dtype=np.float32)


def open_torch(bundle: Path, **options: Any) -> Upscaler:  # noqa: ANN401
    return Upscaler(bundle, backend="torch", passes="graphs", **options)


def modes_of(upscaler: Upscaler) -> list[dict[str, Any]]:
    routed: list[dict[str, Any]] = [{"k": 0.0}, {"adaptive": True}, {"heavy_ratio": 0.3}]
    return routed if upscaler.bundle.upsamplers > 1 else [{}]


def assert_as_pytorch(bundle: Path, image: Image, scale: float) -> None:
    network = build_network(read_checkpoint(bundle.parent / "network.pth"), NetworkSettings())
    assert isinstance(network, PCSR)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    upscaler = open_torch(bundle)
    for mode in modes_of(upscaler)[:2]:
        expected, found = network(batch, scale, **mode), upscaler(image, scale, **mode)
        assert found.assignment is not None
        same = assert_routed_alike(found.assignment, expected.assignment[0].numpy())
        assert_images_agree(found.image, expected.image[0].permute(1, 2, 0).numpy(), same)


@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_images_are_the_published_ones(path: Path, reference: Path, exports: Exports) -> None:
    checkpoint = reference / "checkpoints" / "edsr-baseline-liif.pth"
    data = torch.load(checkpoint, weights_only=True)
    if "no_ensemble" in path.stem:
        data["model"]["args"]["local_ensemble"] = False
        bundle = exports.of(data)
    else:
        bundle = exports.of_file(checkpoint)
    with np.load(path) as golden:
        image = golden["lr_u8"].astype(np.float32) / np.float32(255)
        found = open_torch(bundle)(image, float(golden["scale"])).image
        gap = np.abs(found - golden["image"])
    assert gap.max() <= tolerances.IMAGE_FP32, f"max {gap.max():.2e}, mean {gap.mean():.2e}"


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (8, 7)])
@pytest.mark.parametrize("scale", [1, 2, 2.5, 3, 5])
def test_ties_and_areas_of_zero_are_as_in_pytorch(
    size: tuple[int, int], scale: float, liif_bundle: Path
) -> None:
    assert_as_pytorch(liif_bundle, picture(*size), scale)


@pytest.mark.parametrize("scale", [2.5, 3])
def test_upsamplers_of_different_kinds_are_as_in_pytorch(scale: float, mixed_bundle: Path) -> None:
    assert_as_pytorch(mixed_bundle, picture(11, 14), scale)


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("rows_limit", [2**20, 7])
def test_bands_and_calls_of_few_rows_do_not_change_the_image(
    refine: bool, rows_limit: int, mixed_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, whole = picture(9, 8), open_torch(mixed_bundle)
    for mode in modes_of(whole):
        expected = whole(image, 3, refine=refine, **mode)
        with monkeypatch.context() as patch:
            patch.setattr(frames, "BAND_PIXELS", 600)
            patch.setattr(TorchRunner, "rows_limit", rows_limit)
            found = open_torch(mixed_bundle)(image, 3, refine=refine, **mode)
        assert np.abs(found.image - expected.image).max() <= 1e-6
        np.testing.assert_array_equal(found.assignment, expected.assignment)


def test_no_call_has_more_rows_than_the_runner_takes(
    mixed_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row with four neighbours counts as four."""
    seen = []
    run = TorchRunner.rows

    def rows(self: TorchRunner, role: str, *inputs: torch.Tensor) -> torch.Tensor:
        seen.append(inputs[1].numel())
        return run(self, role, *inputs)

    monkeypatch.setattr(TorchRunner, "rows", rows)
    monkeypatch.setattr(TorchRunner, "rows_limit", 100)
    open_torch(mixed_bundle)(picture(6, 7), 3)
    assert max(seen) == 100


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_are_the_rounded_image(dtype: str, liif_bundle: Path) -> None:
    peak, upscaler = np.iinfo(dtype).max, open_torch(liif_bundle)
    image = (picture(9, 7) * peak).astype(dtype)
    found = upscaler(image, 3).image
    exact = upscaler(image.astype(np.float32) / np.float32(peak), 3).image
    assert found.dtype == dtype
    assert (
        np.abs(found - np.clip(exact, 0, 1) * np.float64(peak)).max() <= tolerances.ROUNDED[dtype]
    )


def test_tiles_and_streamed_rows_are_the_whole_image(
    mixed_bundle: Path, liif_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(60, 40)
    for bundle in (mixed_bundle, liif_bundle):
        whole, tiled = open_torch(bundle)(image, 2), open_torch(bundle, tile_px=20)
        found = tiled(image, 2)
        assert np.mean(found.assignment != whole.assignment) <= 1e-3
        assert np.mean(np.abs(found.image - whole.image) > tolerances.IMAGE_FP32) <= 1e-2
        rows: list[Image] = []
        monkeypatch.setattr(frames, "BAND_PIXELS", 2000)
        tiled.stream(image, rows.append, 2)
        assert len(rows) > 1
        assert np.abs(np.concatenate(rows) - found.image).max() <= 1e-6


def test_half_precision_is_near(exports: Exports) -> None:
    """Areas are float32: the least of them would be zero in float16."""
    options = checkpoints.liif_checkpoint(), ALL_PRECISIONS
    bundle = exports.of(*options)
    assert Bundle.load(bundle).manifest.model.upsamplers[0].neighbours == 4
    image = picture(5, 6)
    exact = open_torch(bundle)(image, 5).image
    for precision, allowed in (("fp16", 1e-2), ("bf16", 6e-2)):
        gap = np.abs(open_torch(bundle, precision=precision)(image, 5).image - exact)
        assert 0 < gap.max() <= allowed
