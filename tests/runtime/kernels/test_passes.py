"""The dense and the sparse pass against float64."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr.runtime.kernels import dense
from pcsr.runtime.kernels.packed import split_width
from tests import tolerances
from tests.runtime.networks import Doubles, Scene

from .scenes import CARN, FSRCNN, MODELS, ONE, SRRESNET, THREE, THREE_LINEAR, Band, Hidden, packed

DTYPES = [torch.float32, torch.float16]
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_network = pytest.mark.parametrize(
    "hidden",
    [*MODELS.values(), THREE, THREE_LINEAR],
    ids=[*MODELS, "three", "three linear"],
)


def _assert_near(found: NDArray[Any], expected: Doubles, dtype: torch.dtype) -> None:
    gap = np.abs(found - expected)
    allowed = tolerances.KERNELS[str(dtype)]
    assert gap.max(initial=0) <= allowed, f"max {gap.max():.2e}, mean {gap.mean():.2e}"


@each_network
@each_dtype
def test_all_pixels_get_logits_and_the_lightest_colours(hidden: Hidden, dtype: torch.dtype) -> None:
    band = Band(Scene.make((4, 5), 2.5, hidden, depth=9), dtype)
    canvas, logits = band.dense()
    assert logits is not None
    _assert_near(canvas.numpy(), band.expected_image(band.labels("light")), dtype)
    _assert_near(logits.numpy(), band.expected_logits(), dtype)


@each_network
@each_dtype
def test_listed_pixels_get_the_colours_of_their_upsampler(
    hidden: Hidden, dtype: torch.dtype
) -> None:
    band = Band(Scene.make((4, 5), 2.5, hidden, depth=9), dtype)
    canvas, labels = torch.full((*band.size, 3), 7.0), band.labels()
    band.sparse(canvas, labels, 2)
    is_listed = labels < len(band.scene.upsamplers) - 1
    _assert_near(canvas.numpy()[is_listed], band.expected_image(labels)[is_listed], dtype)
    assert (canvas.numpy()[~is_listed] == 7).all()


@pytest.mark.parametrize("scale", [1, 1.7, 2, 2.5, 3, 4, 6, 8])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (7, 3)])
def test_any_size_and_scale(size: tuple[int, int], scale: float) -> None:
    band = Band(Scene.make(size, scale, FSRCNN))
    canvas, labels = band.dense()[0], band.labels()
    band.sparse(canvas, labels, 1)
    _assert_near(canvas.numpy(), band.expected_image(labels), band.dtype)


@each_dtype
def test_a_single_upsampler_needs_no_classifier(dtype: torch.dtype) -> None:
    band = Band(Scene.make((5, 3), 4, ONE), dtype)
    canvas, logits = band.dense()
    assert logits is None
    _assert_near(canvas.numpy(), band.expected_image(band.labels("heavy")), dtype)


@pytest.mark.parametrize(
    ("scale", "first", "stop"),
    [
        (4, 5, 18),
        (4, 39, 40),
        (4, 4, 7),
        (3, 1, 29),
        (3, 2, 3),
        (2, 3, 12),
        (2.5, 7, 8),
        (2.5, 3, 25),
        (1, 4, 9),
    ],
)
@pytest.mark.parametrize("hidden", [FSRCNN, CARN, THREE], ids=["fsrcnn", "carn", "three"])
def test_a_band_is_that_of_the_whole_image(
    scale: float, first: int, stop: int, hidden: Hidden
) -> None:
    scene = Scene.make((10, 4), scale, hidden)
    band = Band(scene, first=first, stop=stop)
    canvas, logits = band.dense()
    assert logits is not None
    _assert_near(logits.numpy(), band.expected_logits(), band.dtype)
    labels = band.labels()
    band.sparse(canvas, labels, 3)
    _assert_near(canvas.numpy(), band.expected_image(labels), band.dtype)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 13])
@pytest.mark.parametrize("scale", [3, 4])
def test_any_number_of_upsamplers(count: int, scale: float) -> None:
    """A row takes 4, 8 or 16 of the last product's columns: its colours and its logits."""
    hidden = {f"upsampler_{j}": [20 - j, 9] for j in range(count)}
    if count > 1:
        hidden["classifier"] = [12]
    band = Band(Scene.make((4, 5), scale, hidden), first=1)
    canvas, logits = band.dense()
    _assert_near(canvas.numpy(), band.expected_image(band.labels("light")), band.dtype)
    if logits is not None:
        _assert_near(logits.numpy(), band.expected_logits(), band.dtype)


def test_upsamplers_that_do_not_fit_are_refused() -> None:
    hidden = {f"upsampler_{j}": [4] for j in range(14)} | {"classifier": [4]}
    with pytest.raises(ValueError, match="up to 16 outputs"):
        packed(Scene.make((2, 2), 2, hidden), torch.float32)


@each_dtype
@pytest.mark.parametrize("programs", [1, 3])
def test_each_program_of_the_dense_pass_takes_several_tiles(
    dtype: torch.dtype, programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pcsr.runtime.kernels.launch.INTERPRETED_BLOCK", 16)
    band = Band(Scene.make((5, 11), 4, CARN), dtype, first=2)
    canvas, logits = torch.full((*band.size, 3), np.nan), torch.full((1, 18 * 44), np.nan)
    dense(band.inputs(), canvas, logits, programs)
    _assert_near(canvas.numpy(), band.expected_image(band.labels("light")), dtype)
    _assert_near(logits.numpy(), band.expected_logits(), dtype)


def test_biases_are_not_rounded_to_half() -> None:
    """They are weights, in two parts."""
    scene = Scene.make((2, 2), 2, CARN)
    mlp = packed(scene, torch.float16).upsamplers[0]
    layers = mlp.weights.float()[: (mlp.layers - 1) * mlp.width**2].view(-1, mlp.width, mlp.width)
    bias = torch.from_numpy(scene.mlps["upsampler_0"]["bias_1"])
    assert (layers[0, 74:76, :74].sum(0) - bias).abs().max() < 1e-6
    assert (layers[0, 74, :74] - bias).abs().max() > 1e-5


@pytest.mark.parametrize("kind", ["light", "heavy", "corner"])
@pytest.mark.parametrize("programs", [1, 5])
def test_none_one_and_all_pixels_listed(kind: str, programs: int) -> None:
    band = Band(Scene.make((9, 14), 4, FSRCNN))
    canvas, labels = band.dense()[0], band.labels(kind)
    band.sparse(canvas, labels, programs)
    _assert_near(canvas.numpy(), band.expected_image(labels), band.dtype)


@pytest.mark.parametrize("programs", [1, 3])
def test_each_program_takes_several_tiles(programs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pcsr.runtime.kernels.launch.INTERPRETED_BLOCK", 32)
    band = Band(Scene.make((5, 11), 4, FSRCNN))
    canvas, labels = band.dense()[0], band.labels()
    band.sparse(canvas, labels, programs)
    _assert_near(canvas.numpy(), band.expected_image(labels), band.dtype)


def test_weights_that_are_loaded_tile_by_tile_give_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    band = Band(Scene.make((4, 5), 2, CARN))
    canvas = band.dense()[0]
    monkeypatch.setattr("pcsr.runtime.kernels.launch.HELD_BYTES", 0)
    assert torch.equal(band.dense()[0], canvas)


def test_more_pixels_than_float16_can_count() -> None:
    band = Band(Scene.make((66, 250), 2, FSRCNN, depth=3), torch.float16)
    assert band.size[0] * band.size[1] > 65_504
    canvas, logits = band.dense()
    assert logits is not None
    _assert_near(logits.numpy(), band.expected_logits(), band.dtype)
    labels = band.labels()
    band.sparse(canvas, labels, 2)
    _assert_near(canvas.numpy(), band.expected_image(labels), band.dtype)


def test_a_nan_of_the_features_reaches_the_logits_and_the_colours() -> None:
    scene = Scene.make((3, 3), 4, CARN)
    scene.features[0, 1, 1] = np.nan
    canvas, logits = Band(scene).dense()
    assert logits is not None
    here = np.zeros((12, 12), dtype=bool)
    here[4:8, 4:8] = True
    assert np.array_equal(np.isnan(canvas.numpy()).all(axis=-1), here)
    assert np.array_equal(np.isnan(logits.numpy()).reshape(12, 12), here)


def test_hidden_channels_are_padded_little() -> None:
    widths = {74: (64, 16), 170: (128, 64), 58: (64, 0), 40: (32, 16), 20: (32, 0), 1: (16, 0)}
    assert {width: split_width(width) for width in widths} == widths
    for width in range(1, 400):
        assert width <= sum(split_width(width)) < 2 * max(width, 16)


@pytest.mark.parametrize("hidden", [SRRESNET, THREE])
def test_tensors_that_do_not_fit_are_refused(hidden: Hidden) -> None:
    band = Band(Scene.make((2, 3), 2, hidden), torch.float16)
    inputs, (canvas, logits) = band.inputs(), band.dense()
    assert logits is not None
    for changed in (
        (replace(inputs, pre=inputs.pre.float()), canvas, logits),
        (replace(inputs, image=inputs.image.double()), canvas, logits),
        (inputs, canvas.transpose(0, 1), logits),
        (inputs, canvas, logits[:, 1:]),
        (inputs, canvas, None),
        (replace(inputs, first=1), canvas, logits),
    ):
        with pytest.raises(ValueError, match=r"expected|logits|rows"):
            dense(*changed)
