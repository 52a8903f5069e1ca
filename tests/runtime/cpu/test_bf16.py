"""The compiled passes with products in bfloat16, of the installed module."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import Bundle, Upscaler
from pcsr.errors import BackendError
from pcsr.metrics import degrade, psnr
from pcsr.runtime.cpu import native_pipeline, passes
from pcsr.runtime.geometry.grid import Floats
from tests import tolerances
from tests.runtime.networks import Scene

from . import native

Hidden = Mapping[str, Sequence[int]]
Size = tuple[int, int]
TWO: Hidden = {"classifier": (6,), "upsampler_0": (13, 7), "upsampler_1": (5,)}
THREE: Hidden = {
    "classifier": (),
    "upsampler_0": (64, 64),
    "upsampler_1": (74, 3),
    "upsampler_2": (1,),
}
DEEP: Hidden = {"classifier": (3, 6), "upsampler_0": (74, 64, 13), "upsampler_1": (6, 1, 5)}
BARE: Hidden = {"classifier": (), "upsampler_0": (), "upsampler_1": ()}
NETWORKS = {"two": TWO, "three": THREE, "deep": DEEP}

needs_bf16 = pytest.mark.skipif(
    not passes.has_bf16(), reason="this processor or the compiled passes have no avx512_bf16"
)


def both(scene: Scene) -> tuple[Scene, Scene]:
    """The scene in float32 and in bfloat16."""
    return scene, dataclasses.replace(scene, bf16=True)


def logits(scene: Scene) -> Floats:
    return scene.passes.logits(scene.band(), scene.rows)


@needs_bf16
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("size", "scale"), [((7, 19), 4), ((9, 5), 2.5), ((1, 2500), 1.3)])
def test_logits_and_images_are_near_those_in_float32(size: Size, scale: float, name: str) -> None:
    fp32, bf16 = both(Scene.make(size, scale, NETWORKS[name]))
    labels = fp32.assignment()
    pairs = [(bf16.composed(labels), fp32.composed(labels))]
    if NETWORKS[name]["classifier"]:
        pairs.append((logits(bf16), logits(fp32)))
    for found, expected in pairs:
        gap = np.abs(found - expected)
        assert 0 < gap.max() <= tolerances.BF16_PASSES
        assert gap.mean() <= tolerances.BF16_PASSES / 10


@needs_bf16
@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("width", [1, 2, 3, 5, 6, 7, 8, 13])
def test_values_that_bfloat16_holds_give_the_result_of_float32(width: int, depth: int) -> None:
    """Weights of -1 and 1, inputs 0 to 3: integers below 256 between the layers, so that the order
    of channels and their pairs, not rounding, decides.
    """
    hidden = {"classifier": (width,), "upsampler_0": (3, width), "upsampler_1": (width, 2)}
    scene = Scene.make((3, 23), 3, hidden, depth)
    random = np.random.default_rng(width)
    for arrays in scene.mlps.values():
        for name, array in arrays.items():
            array[...] = random.choice([-1, 1], array.shape)
            if name in ("row_weight", "column_weight", "cell_weight"):
                array[...] = 0
        arrays["bias"][...] = 3
    scene.features[...] = random.integers(0, 4, scene.features.shape)
    fp32, bf16 = both(scene)
    labels = scene.assignment()
    assert np.array_equal(bf16.composed(labels), fp32.composed(labels))
    assert np.array_equal(logits(bf16), logits(fp32))
    assert logits(fp32).std() > 0


@needs_bf16
def test_mlps_without_hidden_layers_are_those_of_float32_bit_for_bit() -> None:
    fp32, bf16 = both(Scene.make((7, 19), 4, BARE))
    labels = fp32.assignment()
    assert np.array_equal(bf16.composed(labels), fp32.composed(labels))
    assert np.array_equal(logits(bf16), logits(fp32))


@needs_bf16
@pytest.mark.parametrize("scale", [1, 2.5, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_bands_of_rows_are_the_whole_image_bit_for_bit(name: str, scale: float) -> None:
    scene = dataclasses.replace(Scene.make((11, 37), scale, NETWORKS[name]), bf16=True)
    labels = scene.assignment()
    whole, expected = scene.composed(labels), logits(scene)
    nearest = scene.grid.rows.nearest
    for first, stop in ((0, 1), (1, 4), (4, 10), (10, 11)):
        rows = slice(*(int(edge) for edge in np.searchsorted(nearest, [first, stop])))
        band = scene.band(first, stop)
        assert np.array_equal(scene.passes.logits(band, rows), expected[:, rows])
        out = np.empty((3, rows.stop - rows.start, labels.shape[1]), np.float32)
        seconds = np.zeros(len(scene.upsamplers))
        scene.passes.compose(band, rows, np.ascontiguousarray(labels[rows]), out, seconds)
        assert np.array_equal(out, whole[:, rows])


@needs_bf16
@pytest.mark.parametrize("ways", [{}, {"upsampler_0": (4, "none"), "upsampler_1": (4, "bilinear")}])
def test_a_pixel_does_not_depend_on_which_others_are_computed(ways: dict[str, Any]) -> None:
    """Where it stands in its vector changes nothing, bit for bit."""
    scene = dataclasses.replace(Scene.make((5, 60), 4, TWO, ways=ways), bf16=True)
    labels = scene.assignment()
    mixed = scene.composed(labels)
    for index, kind in enumerate(("heavy", "light")):
        alone = scene.composed(scene.assignment(kind))
        assert np.array_equal(mixed[:, labels == index], alone[:, labels == index])


@needs_bf16
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_feature_that_is_no_number_shows_in_its_pixels_and_nowhere_else(value: float) -> None:
    scene = dataclasses.replace(Scene.make((5, 40), 3, DEEP), bf16=True)
    labels = scene.assignment()
    clean = scene.composed(labels)
    hit = scene.spoil(value)
    spoilt = scene.composed(labels)
    assert np.isnan(spoilt[:, hit]).all()
    assert np.array_equal(spoilt[:, ~hit], clean[:, ~hit])


@needs_bf16
def test_clang_gives_the_bits_of_the_installed_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = dataclasses.replace(Scene.make((7, 19), 4, DEEP), bf16=True)
    labels = scene.assignment()
    expected = scene.composed(labels)
    ffi, lib = native.build(tmp_path, "clang")
    monkeypatch.setattr(passes, "ffi", ffi)
    monkeypatch.setattr(passes, "lib", lib)
    assert np.abs(scene.composed(labels) - expected).max() <= tolerances.BF16_PASSES


def test_other_processors_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "has_bf16", lambda: False)
    scene = dataclasses.replace(Scene.make((2, 2), 2, TWO), bf16=True)
    with pytest.raises(BackendError, match=r"^bf16 needs .* avx512_bf16 .*; use fp32$") as refused:
        _ = scene.passes
    assert "\n" not in str(refused.value)


@needs_bf16
@pytest.mark.parametrize("photo", ["coffee", "clock"])
@pytest.mark.parametrize("model", ["carn", "fsrcnn"])
def test_photos_lose_nothing_that_shows(
    model: str,
    photo: str,
    published_bundles: dict[str, Bundle],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = pytest.importorskip("skimage.data")
    image = getattr(data, photo)()[:256, :256]
    image = np.stack([image] * 3, axis=-1) if image.ndim == 2 else image
    image, small = degrade(image, 4)
    fp32 = Upscaler(published_bundles[model].path, backend="native", threads=1)(small, 4).image

    def bf16_passes(*args: Any, **named: Any) -> passes.PixelPasses:  # noqa: ANN401
        return passes.PixelPasses(*args, **named | {"bf16": True})

    monkeypatch.setattr(native_pipeline, "PixelPasses", bf16_passes)
    bf16 = Upscaler(published_bundles[model].path, backend="native", threads=1)(small, 4).image
    assert not np.array_equal(bf16, fp32)
    loss_db = psnr(fp32, image) - psnr(bf16, image)
    shown = f"{psnr(bf16, fp32):.2f} dB from fp32, loss {loss_db:.4f} dB"
    assert psnr(bf16, fp32) >= tolerances.BF16_PSNR_DB, shown
    assert loss_db <= tolerances.BF16_LOSS_DB, shown
