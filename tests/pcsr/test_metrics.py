import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from pcsr.errors import UsageError
from pcsr.metrics import (
    Channel,
    bicubic_resize,
    crop_to_multiple,
    degrade,
    lr_size,
    luma,
    psnr,
    ssim,
)

Array = NDArray[Any]

RESIZE_ATOL = 1e-4  # Pillow sums in float64 but stores float32 between the axes; values up to 255
SSIM_ATOL = 1e-9  # the same float64 sums in another order
PSNR_OF_ONE_LEVEL_DB = 20 * math.log10(255)


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def grey(level: int, height: int = 16, width: int = 20) -> Array:
    return np.full((height, width, 3), level, np.uint8)


def matlab_matrix(size_in: int, size_out: int) -> NDArray[np.float64]:
    """Weights [size_out,size_in] by the index formula of imresize's `contributions`, 1-based."""
    scale = size_out / size_in
    stretch = min(scale, 1.0)
    width = 4 / stretch
    u = np.arange(1, size_out + 1) / scale + 0.5 * (1 - 1 / scale)
    indices = np.floor(u - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    weights = cubic(stretch * (u[:, None] - indices))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(size_in), np.arange(size_in)[::-1]])
    sources = mirrored[np.mod(indices.astype(int) - 1, 2 * size_in)]
    matrix = np.zeros((size_out, size_in))
    np.add.at(matrix, (np.arange(size_out)[:, None], sources), weights)
    return matrix


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0))


def matlab_resize(image: Array, height: int, width: int) -> NDArray[np.float64]:
    rows, columns = matlab_matrix(image.shape[0], height), matlab_matrix(image.shape[1], width)
    resized: NDArray[np.float64] = np.einsum("ih,jw,hwc->ijc", rows, columns, image.astype(float))
    return resized


def ssim_by_windows(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Wang et al. 2004, eq. 13, window after window, for one channel [H,W]."""
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = (plane[top : top + 11, left : left + 11] for plane in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            variances = (window * ((a - mean_a) ** 2 + (b - mean_b) ** 2)).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
            values.append(luminance * (2 * covariance + c2) / (variances + c2))
    return float(np.mean(values))


def test_luma_of_corner_colours() -> None:
    corners = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]])
    exact = [[16.0, 235.0, 81.481, 144.553, 40.966]]
    np.testing.assert_allclose(luma(corners.astype(np.float32)), exact, atol=1e-9)
    np.testing.assert_array_equal(luma(corners.astype(np.uint8)), np.round(exact))


def test_luma_wants_three_channels() -> None:
    with pytest.raises(UsageError, match=r"\[H,W,3\], found shape \[4, 5\]"):
        luma(noise(4, 5))


@pytest.mark.parametrize("channel", ["rgb", "y"])
def test_identical_images(channel: Channel) -> None:
    image = noise(16, 20, 3)
    assert psnr(image, image, 2, channel) == math.inf
    assert ssim(image, image, 2, channel) == 1


def test_psnr_of_one_grey_level() -> None:
    assert psnr(grey(128), grey(129)) == pytest.approx(PSNR_OF_ONE_LEVEL_DB)
    assert psnr(grey(255), grey(0)) == 0


def test_psnr_averages_over_channels() -> None:
    image = grey(10)
    image[..., 1] += 1
    assert psnr(image, grey(10)) == pytest.approx(PSNR_OF_ONE_LEVEL_DB + 10 * math.log10(3))


def test_psnr_y_compares_rounded_luma() -> None:
    # Y of grey 128, 129, 130 is 125.93, 126.79, 127.65
    assert psnr(grey(128), grey(129), channel="y") == pytest.approx(PSNR_OF_ONE_LEVEL_DB)
    assert psnr(grey(128), grey(130), channel="y") == pytest.approx(20 * math.log10(255 / 2))


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_border_is_left_out(measure: Any) -> None:  # noqa: ANN401
    image, reference = noise(31, 28, 3), noise(31, 28, 3, seed=1)
    inside = measure(image[4:-4, 4:-4], reference[4:-4, 4:-4])
    assert measure(image, reference, border=4) == inside
    assert measure(image, reference) != inside


@pytest.mark.parametrize("measure", [psnr, ssim])
@pytest.mark.parametrize(
    ("image", "border", "message"),
    [
        (grey(0), 8, "a border of 8 px does not fit an image of 20x16 pixels"),
        (grey(0), -1, "a border of -1 px"),
        (grey(0, 17), 0, r"same shape, found \[17, 20, 3\] and \[16, 20, 3\]"),
        (grey(0)[..., 0], 0, r"uint8 \[H,W,3\], found uint8 \[16, 20\]"),
        (grey(0).astype(np.float32), 0, r"uint8 \[H,W,3\], found float32"),
    ],
)
def test_unfit_images_are_refused(measure: Any, image: Array, border: int, message: str) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match=message):
        measure(image, grey(0), border)


def test_ssim_is_the_published_formula() -> None:
    image, reference = noise(14, 13, 3), noise(14, 13, 3, seed=1)
    of_channels = [
        ssim_by_windows(image[..., c].astype(float), reference[..., c].astype(float))
        for c in range(3)
    ]
    assert ssim(image, reference) == pytest.approx(np.mean(of_channels), abs=SSIM_ATOL)
    of_y = ssim_by_windows(luma(image), luma(reference))
    assert ssim(image, reference, channel="y") == pytest.approx(of_y, abs=SSIM_ATOL)


@pytest.mark.parametrize("height", [266, 267, 300, 523])
def test_ssim_in_bands_is_that_of_the_whole_image(height: int) -> None:
    image, reference = noise(height, 12, 3), noise(height, 12, 3, seed=1)
    similarity: Callable[..., Any] = structural_similarity
    whole = similarity(
        image,
        reference,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1,
    )
    assert ssim(image, reference) == pytest.approx(whole, abs=SSIM_ATOL)


def test_ssim_needs_one_whole_window() -> None:
    image = noise(18, 30, 3)
    assert math.isnan(ssim(image, image, border=4))
    assert ssim(image[:11, :11], image[:11, :11]) == 1


def test_grow_an_impulse_by_hand() -> None:
    line = np.zeros((1, 12), np.float32)
    line[0, 6] = 128
    grown = bicubic_resize(line, 1, 24)
    np.testing.assert_array_equal(grown[0, 9:17], [-3, -9, 29, 111, 111, 29, -9, -3])
    assert np.count_nonzero(grown) == 8


def test_shrink_an_impulse_by_hand() -> None:
    line = np.zeros((20, 1), np.float32)
    line[8] = 256
    np.testing.assert_array_equal(
        bicubic_resize(line, 10, 1)[:, 0], [0, 0, -3, 29, 111, -9, 0, 0, 0, 0]
    )


def test_edges_are_extended_symmetrically() -> None:
    line = np.array([[0, 128]], np.float32)
    np.testing.assert_array_equal(bicubic_resize(line, 1, 4), [[-12, 26, 102, 140]])


@pytest.mark.parametrize(
    ("size", "size_out"),
    [
        ((64, 48), (16, 12)),  # shrink by 4
        ((50, 35), (20, 14)),  # by 2.5
        ((51, 33), (17, 11)),  # by 3
        ((53, 47), (14, 19)),  # by another factor on each axis
        ((17, 13), (68, 52)),  # grow by 4
        ((17, 13), (42, 33)),  # by about 2.5
        ((30, 9), (7, 31)),  # shrink one axis, grow the other
        ((21, 19), (21, 19)),
        ((9, 7), (1, 1)),
        ((1, 1), (5, 4)),
        ((1, 9), (3, 2)),
    ],
)
def test_resize_is_matlabs(size: tuple[int, int], size_out: tuple[int, int]) -> None:
    image = noise(*size, 3)
    reference = matlab_resize(image, *size_out)
    resized = bicubic_resize(image.astype(np.float32), *size_out)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, reference, rtol=0, atol=RESIZE_ATOL)
    rounding = np.abs(bicubic_resize(image, *size_out) - np.clip(reference, 0, 255))
    assert rounding.max() <= 0.5 + RESIZE_ATOL


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_integers_are_clipped_to_their_range(dtype: type[np.integer[Any]]) -> None:
    limits = np.iinfo(dtype)
    step = np.repeat(np.array([limits.min, limits.max], dtype), 8)[None]
    grown = bicubic_resize(step, 1, 64)
    assert grown.dtype == dtype
    assert (grown.min(), grown.max()) == (limits.min, limits.max)
    assert (np.diff(grown[0].astype(int)) >= 0).all()


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 3)])
def test_resize_keeps_the_layout(shape: tuple[int, ...]) -> None:
    image = noise(*shape).astype(np.float64)
    resized = bicubic_resize(image, 3, 4)
    assert resized.shape == (3, 4, *shape[2:])
    assert resized.dtype == np.float64


@pytest.mark.parametrize(
    ("image", "size", "message"),
    [
        (noise(4, 4, 3), (0, 2), "to 2x0"),
        (noise(4, 4, 3), (2, -1), "to -1x2"),
        (noise(0, 4, 3), (2, 2), r"shape \[0, 4, 3\]"),
        (noise(4), (2, 2), r"shape \[4\]"),
        (np.zeros((4, 4), np.int32), (2, 2), "int32"),
    ],
)
def test_unfit_resizes_are_refused(image: Array, size: tuple[int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bicubic_resize(image, *size)


@pytest.mark.parametrize(
    ("size", "scale", "lr", "hr", "corner"),
    [
        ((64, 48), 4, (16, 12), (64, 48), (0, 0)),
        ((67, 51), 4, (16, 12), (64, 48), (1, 1)),
        ((66, 49), 4, (16, 12), (64, 48), (1, 0)),
        ((51, 52), 2.5, (20, 20), (50, 50), (0, 1)),
        ((53, 8), 2.5, (21, 3), (52, 8), (0, 0)),  # 52.5 and 7.5 round to even
        ((5, 4), 4, (1, 1), (4, 4), (0, 0)),
    ],
)
def test_crop_to_multiple(
    size: tuple[int, int],
    scale: float,
    lr: tuple[int, int],
    hr: tuple[int, int],
    corner: tuple[int, int],
) -> None:
    image = noise(*size, 3)
    cropped = crop_to_multiple(image, scale)
    top, left = corner
    assert lr_size(size, scale) == lr
    assert cropped.shape == (*hr, 3)
    np.testing.assert_array_equal(cropped, image[top : top + hr[0], left : left + hr[1]])


@pytest.mark.parametrize("scale", [1.0, 1.1, 1.5, 2.5, 3.3, 4.0])
def test_degraded_pair_fits_the_upscaled_size(scale: float) -> None:
    for side in range(math.ceil(scale), 40):
        hr, lr = degrade(noise(side, 41), scale)
        assert hr.shape == tuple(round(length * scale) for length in lr.shape)
        assert max(hr.shape) <= 41
        assert lr.dtype == np.uint8


@pytest.mark.parametrize("scale", [0.5, 0.0, -4.0, math.nan, math.inf])
def test_scale_below_one_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match="a scale of at least 1, found"):
        crop_to_multiple(grey(0), scale)


def test_image_below_one_lr_pixel_is_refused() -> None:
    with pytest.raises(UsageError, match="20x3 pixels is too small for scale 4"):
        degrade(grey(0, 3), 4)
