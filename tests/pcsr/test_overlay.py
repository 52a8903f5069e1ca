"""The overlay against a slow, obvious blend, and its refusals."""

import numpy as np
import pytest

from pcsr import overlay
from pcsr.errors import ImageError, PcsrError, UsageError
from pcsr.overlay import draw_overlay, explain_colours

RED, AMBER, GREEN = (205, 15, 30), (240, 140, 20), (120, 235, 120)
WHITE = {"uint8": 255, "uint16": 65535, "float32": 1}


def noise(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    values = np.random.default_rng(0).random(shape) * WHITE[dtype]
    return values.astype(dtype)


def classes(height: int, width: int, upsamplers: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, upsamplers, (height, width), dtype=np.uint8)


def relative_luminance(colours: np.ndarray) -> np.ndarray:
    weights = np.array([0.2126, 0.7152, 0.0722])
    luminance: np.ndarray = (colours / 255) ** 2.2 @ weights
    return luminance


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [(), (2,), (3,), (4,)])
@pytest.mark.parametrize("size", [(1, 1), (13, 7)])
def test_matches_slow_blend(size: tuple[int, int], channels: tuple[int, ...], dtype: str) -> None:
    image, assignment = noise((*size, *channels), dtype), classes(*size, 3)
    drawn = draw_overlay(image, assignment, 3, 0.35)
    assert drawn.shape == (*size, 3)
    assert drawn.dtype == np.uint8
    colours = np.array([RED, AMBER, GREEN])
    for y, x in np.ndindex(size):
        samples = np.atleast_1d(image[y, x]).astype(float) * 255 / WHITE[dtype]
        pixel = samples[:3] if samples.size > 2 else samples[:1]
        expected = 0.65 * pixel + 0.35 * colours[assignment[y, x]]
        np.testing.assert_allclose(drawn[y, x], expected, atol=0.51)  # half a step of rounding


def test_two_upsamplers_are_red_and_green() -> None:
    assignment = np.array([[0, 1]], np.uint8)
    drawn = draw_overlay(np.zeros((1, 2), np.uint8), assignment, 2, opacity=1)
    assert drawn.tolist() == [[list(RED), list(GREEN)]]


@pytest.mark.parametrize("upsamplers", [1, 2, 3, 4, 10])
def test_lightness_tells_the_order(upsamplers: int) -> None:
    assignment = np.arange(upsamplers, dtype=np.uint8)[None]
    drawn = draw_overlay(np.zeros((1, upsamplers), np.uint8), assignment, upsamplers, opacity=1)
    assert (np.diff(relative_luminance(drawn[0])) > 0.01).all()


def test_no_opacity_leaves_the_picture() -> None:
    image = noise((5, 6, 3), "uint8")
    np.testing.assert_array_equal(draw_overlay(image, classes(5, 6, 2), 2, opacity=0), image)


def test_overshoot_is_clipped_before_blending() -> None:
    image = np.array([[-0.5, 1.7]], np.float32)
    within = image.clip(0, 1)
    assignment = np.zeros((1, 2), np.uint8)
    np.testing.assert_array_equal(
        draw_overlay(image, assignment, 2), draw_overlay(within, assignment, 2)
    )


def test_blocks_of_rows_join(monkeypatch: pytest.MonkeyPatch) -> None:
    image, assignment = noise((11, 9, 3), "uint8"), classes(11, 9, 2)
    whole = draw_overlay(image, assignment, 2)
    for pixels in (1, 20, 30):
        monkeypatch.setattr(overlay, "_BLOCK_PIXELS", pixels)
        np.testing.assert_array_equal(draw_overlay(image, assignment, 2), whole)


def test_inputs_stay_as_they_are() -> None:
    image, assignment = noise((4, 4, 3), "float32"), classes(4, 4, 2)
    kept = image.copy(), assignment.copy()
    draw_overlay(image, assignment, 2)
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(assignment, kept[1])


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((4, 4)), ImageError, "of float64"),
        (np.zeros((4, 4, 5), np.uint8), ImageError, r"\[4, 4, 5\]"),
        (np.zeros((0, 4), np.uint8), ImageError, "not empty"),
        (np.zeros((4, 5), np.uint8), UsageError, r"\[4, 5\] of uint8 .* found \[4, 4\]"),
    ],
)
def test_refuses_images(image: np.ndarray, error: type[PcsrError], message: str) -> None:
    with pytest.raises(error, match=message):
        draw_overlay(image, np.zeros((4, 4), np.uint8), 2)


@pytest.mark.parametrize(
    ("assignment", "upsamplers", "opacity", "message"),
    [
        (np.zeros((2, 2), np.int64), 2, 0.5, "of int64"),
        (np.full((2, 2), 2, np.uint8), 2, 0.5, "below 2 .* found 2"),
        (np.zeros((2, 2), np.uint8), 0, 0.5, "at least 1"),
        (np.zeros((2, 2), np.uint8), 2, 1.5, "from 0 to 1, found 1.5"),
        (np.zeros((2, 2), np.uint8), 2, float("nan"), "found nan"),
    ],
)
def test_refuses_arguments(
    assignment: np.ndarray, upsamplers: int, opacity: float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        draw_overlay(np.zeros((2, 2), np.uint8), assignment, upsamplers, opacity)


@pytest.mark.parametrize(
    ("upsamplers", "text"),
    [
        (1, "red is upsampler 0 (heaviest)"),
        (2, "red is upsampler 0 (heaviest), green is upsampler 1 (lightest)"),
        (
            3,
            "red is upsampler 0 (heaviest), amber is upsampler 1, green is upsampler 2 (lightest)",
        ),
        (5, "from red over amber to green: upsampler 0 (heaviest) to 4 (lightest)"),
    ],
)
def test_colours_are_explained(upsamplers: int, text: str) -> None:
    assert explain_colours(upsamplers) == text
