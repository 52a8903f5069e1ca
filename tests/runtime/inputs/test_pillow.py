"""Pillow's images: their palettes are applied, and what is not plain gray or RGB is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcsr import ImageError, Upscaler
from pcsr.runtime.inputs.arrays import as_array

COLOURS = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(COLOURS)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_gray_and_rgb_are_taken_as_they_are(image: Image.Image, mode: str) -> None:
    given = image.convert(mode)
    found = as_array(given)
    assert np.array_equal(found, np.asarray(given))
    assert found.dtype == np.uint8


def test_a_palette_is_applied(carn_like_bundle: Path, image: Image.Image) -> None:
    given = image.quantize(16)
    assert given.mode == "P"
    colours = np.asarray(given.convert("RGB"))
    assert np.array_equal(as_array(given), colours)
    upscaler = Upscaler(carn_like_bundle, threads=1)
    assert np.array_equal(upscaler(given).image, upscaler(colours).image)


def test_a_clear_colour_of_a_palette_becomes_alpha(image: Image.Image) -> None:
    given = image.quantize(16)
    given.info["transparency"] = 3
    found = as_array(given)
    assert found.shape == (9, 12, 4)
    assert np.array_equal(found[..., 3] == 0, np.asarray(given) == 3)


def test_a_palette_with_alpha_becomes_rgba(image: Image.Image) -> None:
    assert as_array(image.quantize(16).convert("PA")).shape == (9, 12, 4)


def test_black_and_white_become_gray(image: Image.Image) -> None:
    found = as_array(image.convert("1"))
    assert found.dtype == np.uint8
    assert found.shape == (9, 12)
    assert set(np.unique(found)) == {0, 255}


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bits_stay(mode: str) -> None:
    values = np.arange(108, dtype=np.uint16).reshape(9, 12) * 600
    stored = values.astype(">u2" if mode == "I;16B" else "<u2")
    found = as_array(Image.frombytes(mode, (12, 9), stored.tobytes()))
    assert found.dtype == np.uint16
    assert np.array_equal(found, values)


@pytest.mark.parametrize("mode", ["I", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa", "La"])
def test_other_modes_are_refused_with_what_to_do(
    carn_like_bundle: Path, image: Image.Image, mode: str
) -> None:
    given = image.convert("L").convert("I") if mode == "I" else Image.new(mode, (12, 9))
    with pytest.raises(ImageError, match=rf"found {mode}; convert it first: .*") as refused:
        Upscaler(carn_like_bundle, threads=1)(given)
    assert "\n" not in str(refused.value)


def test_a_damaged_file_is_an_image_error(tmp_path: Path, image: Image.Image) -> None:
    file = tmp_path / "half.png"
    image.resize((200, 200)).save(file)
    file.write_bytes(file.read_bytes()[:400])
    with Image.open(file) as damaged, pytest.raises(ImageError, match="cannot read the Pillow"):
        as_array(damaged)
