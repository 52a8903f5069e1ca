"""Colours under transparent pixels: the visible ones spread over them, and nothing else changes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr.runtime.cpu import alpha
from pcsr.runtime.cpu.alpha import bleed_colours

PEAK = {"uint8": 255, "uint16": 65535, "float32": 1}


def cut_out(channels: int, dtype: str, size: tuple[int, int] = (37, 53)) -> NDArray[np.generic]:
    """A soft-edged disc of one colour on transparent black, with noise in the colour's stead at its
    rim's outside.
    """
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    distance = np.hypot(y - 18, x - 20)
    coverage = np.clip(12 - distance, 0, 1)
    image = np.zeros((*size, channels))
    image[coverage > 0, :-1] = np.linspace(0.9, 0.3, channels - 1)
    image[..., -1] = coverage
    peak = PEAK[dtype]
    return (image * peak if dtype == "float32" else np.rint(image * peak)).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", ">u2"])
@pytest.mark.parametrize("channels", [2, 4])
def test_one_colour_spreads_everywhere(channels: int, dtype: str) -> None:
    image = cut_out(channels, "uint16" if dtype == ">u2" else dtype).astype(dtype)
    visible = image[..., -1] > 0
    colour = image[visible][0, :-1]
    given = image.copy()
    bled = bleed_colours(image)
    assert bled.dtype == image.dtype
    np.testing.assert_array_equal(bled[..., -1], image[..., -1])
    np.testing.assert_array_equal(bled[visible], image[visible])
    error = np.abs(bled[..., :-1].astype(float) - colour.astype(float)).max()
    assert error <= (1e-6 if dtype == "float32" else 0)
    np.testing.assert_array_equal(image, given)  # that of the caller stays


def test_hidden_pixels_take_the_nearest_colours() -> None:
    image = np.zeros((16, 64, 4), np.uint8)
    image[:, :8] = (200, 0, 0, 255)
    image[:, 56:] = (0, 0, 100, 255)
    bled = bleed_colours(image)
    assert (bled[:, 8:16, :3] == (200, 0, 0)).all()
    assert (bled[:, 48:56, :3] == (0, 0, 100)).all()


@pytest.mark.parametrize("value", [0, 1, 255])
def test_images_without_hidden_or_visible_pixels_are_returned_themselves(value: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    image[..., -1] = value
    assert bleed_colours(image) is image


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (3, 5), (64, 33)])
def test_result_does_not_depend_on_blocks(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 4), dtype=np.uint8)
    image[..., -1][image[..., -1] < 200] = 0
    image[0, 0, -1], image[-1, -1, -1] = 255, 0
    whole = bleed_colours(image)
    monkeypatch.setattr(alpha, "_BLOCK_PIXELS", 1)
    np.testing.assert_array_equal(bleed_colours(image), whole)
    assert (whole[..., -1] == image[..., -1]).all()


def test_negative_alpha_counts_as_none() -> None:
    image = np.full((4, 4, 2), 0.5, np.float32)
    image[0, 0] = (0, -0.1)
    assert bleed_colours(image)[0, 0, 0] == 0.5
