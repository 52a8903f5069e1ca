"""Pixel arrays of every layout, to the network's input and back."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr.errors import ImageError
from pcsr.runtime.layout import Layout
from tests import tolerances

DTYPES = ["uint8", "uint16", "float32"]
SHAPES = [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4), (1, 1, 3), (4, 4), (1, 3)]
PEAK = {"uint8": 255, "uint16": 65535, "float32": 1}
WEIGHTS = (0.299, 0.587, 0.114)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_shape = pytest.mark.parametrize("shape", SHAPES)


def _image(shape: tuple[int, ...], dtype: str, seed: int = 0) -> NDArray[np.generic]:
    values = np.random.default_rng(seed).random(shape) * PEAK[dtype]
    return values.astype(dtype)


def _as_output(network: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(network[0].transpose(1, 2, 0))


def _colour(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """[h, w, 1 or 3], without alpha."""
    planes = image.reshape(*image.shape[:2], -1)
    return planes[..., :1] if planes.shape[2] < 3 else planes[..., :3]


@each_dtype
@each_shape
def test_network_input_is_contiguous_float32_rgb_in_0_to_1(
    shape: tuple[int, ...], dtype: str
) -> None:
    image = _image(shape, dtype)
    found = Layout.of(image).to_network(image)
    assert found.shape == (1, 3, *shape[:2])
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    expected = np.broadcast_to(_colour(image), (*shape[:2], 3)) / np.float64(PEAK[dtype])
    assert np.abs(_as_output(found) - expected).max() <= tolerances.LUMA


@each_dtype
@each_shape
def test_an_image_survives_the_round_trip(shape: tuple[int, ...], dtype: str) -> None:
    image = _image(shape, dtype)
    layout = Layout.of(image)
    back = layout.from_network(_as_output(layout.to_network(image)))
    expected = _colour(image)
    assert back.dtype == image.dtype
    assert back.shape == expected.shape
    if dtype == "float32" and layout.is_gray:
        assert np.abs(back - expected).max() <= tolerances.LUMA
    else:
        assert np.array_equal(back, expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_level_survives_the_round_trip(dtype: str, channels: int) -> None:
    levels = np.arange(PEAK[dtype] + 1).astype(dtype)
    image = np.broadcast_to(levels[:, None, None], (len(levels), 1, channels))
    layout = Layout.of(image)
    assert np.array_equal(layout.from_network(_as_output(layout.to_network(image))), image)


@each_shape
def test_alpha_and_gray_are_told_by_the_number_of_channels(shape: tuple[int, ...]) -> None:
    layout = Layout.of(_image(shape, "uint8"))
    channels = shape[2] if len(shape) == 3 else 0
    assert layout.channels == channels
    assert layout.has_alpha == (channels in (2, 4))
    assert layout.is_gray == (channels in (0, 1, 2))


@each_dtype
@each_shape
def test_colour_is_finished_in_the_callers_dtype_and_gray_in_float32(
    shape: tuple[int, ...], dtype: str
) -> None:
    layout = Layout.of(_image(shape, dtype))
    assert layout.working_dtype == (np.float32 if layout.is_gray else np.dtype(dtype))


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_does_not_reach_the_network(channels: int) -> None:
    image = _image((6, 5, channels), "uint8")
    other = image.copy()
    other[..., -1] = 7
    layout = Layout.of(image)
    assert np.array_equal(layout.to_network(image), layout.to_network(other))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_are_rounded_to_even(dtype: str) -> None:
    peak = PEAK[dtype]
    halves = np.array([0.5, 1.5, 2.5, 3.5, 100.5], dtype=np.float64)
    values = (halves / peak).astype(np.float32)
    exact = values * np.float32(peak) == halves
    rgb = np.repeat(values[exact][:, None, None], 3, axis=2)
    found = Layout.of(np.zeros((1, 1, 3), dtype)).from_network(rgb)
    assert exact.any()
    assert found[:, 0, 0].tolist() == [round(half) for half in halves[exact]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3)])
def test_integers_are_clipped_to_their_range(dtype: str, shape: tuple[int, ...]) -> None:
    rgb = np.array([-1e6, -0.5, -1e-4, 1 + 1e-4, 1.5, 1e6], dtype=np.float32)
    image = np.repeat(rgb[:, None, None], 3, axis=2)
    found = Layout.of(np.zeros(shape, dtype)).from_network(image)
    assert found[:, 0, 0].tolist() == [0, 0, 0, *[PEAK[dtype]] * 3]


def test_floats_are_not_clipped() -> None:
    rgb = np.array([[[-0.25, 0.5, 1.25]]], dtype=np.float32)
    assert np.array_equal(Layout.of(rgb).from_network(rgb), rgb)


def test_gray_is_the_luma_of_rgb() -> None:
    rgb = _image((9, 11, 3), "float32").astype(np.float32)
    gray = Layout.of(np.zeros((2, 2), np.float32)).from_network(rgb)
    assert gray.shape == (9, 11, 1)
    assert gray.dtype == np.float32
    assert np.abs(gray[..., 0] - rgb.astype(np.float64) @ WEIGHTS).max() <= tolerances.LUMA


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_luma_of_equal_channels_is_exact_in_integers(dtype: str) -> None:
    levels = np.arange(PEAK[dtype] + 1)
    equal = np.repeat((levels / PEAK[dtype]).astype(np.float32)[:, None, None], 3, axis=2)
    gray = Layout.of(np.zeros((1, 1), dtype)).from_network(equal)
    assert np.array_equal(gray[:, 0, 0], levels)


@each_dtype
def test_conversion_does_not_touch_its_input(dtype: str) -> None:
    image = _image((5, 7, 3), dtype)
    image.flags.writeable = False
    layout = Layout.of(image)
    rgb = _as_output(layout.to_network(image))
    before = rgb.copy()
    layout.from_network(rgb)
    assert np.array_equal(rgb, before)


@each_dtype
@each_shape
def test_any_memory_order_gives_the_same_input(shape: tuple[int, ...], dtype: str) -> None:
    image = _image(shape, dtype)
    expected = Layout.of(image).to_network(image)
    for same in (np.asfortranarray(image), image[::-1, ::-1].copy()[::-1, ::-1]):
        assert np.array_equal(Layout.of(same).to_network(same), expected)


def test_big_endian_pixels_keep_their_value_and_dtype() -> None:
    image = _image((5, 7, 3), "uint16")
    swapped = image.astype(">u2")
    layout = Layout.of(swapped)
    assert np.array_equal(layout.to_network(swapped), Layout.of(image).to_network(image))
    back = layout.from_network(_as_output(layout.to_network(swapped)))
    assert back.dtype == swapped.dtype
    assert np.array_equal(back, swapped)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_pixels_that_are_no_numbers_are_refused(value: float, shape: tuple[int, ...]) -> None:
    image = _image(shape, "float32").astype(np.float32)
    image[(3, 4, *[0] * (len(shape) - 2))] = value
    with pytest.raises(ImageError, match="NaN or values beyond"):
        Layout.of(image).to_network(image)


@pytest.mark.parametrize(
    "shape", [(), (5,), (5, 7, 5), (1, 5, 7, 3), (0, 7, 3), (5, 0), (5, 7, 0), (3, 64, 64)]
)
def test_other_shapes_are_refused_and_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"expected an image \[height, width\]") as error:
        Layout.of(np.zeros(shape, np.uint8))
    assert str(list(shape)) in str(error.value)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "int64", "float16", "float64"])
def test_other_dtypes_are_refused_and_named(dtype: str) -> None:
    with pytest.raises(ImageError, match=f"expected uint8, uint16 or float32 .* found {dtype}"):
        Layout.of(np.zeros((5, 7, 3), dtype))
