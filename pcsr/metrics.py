"""Image quality as super-resolution papers measure it, and the bicubic degradation they start from.

Source: the evaluation code published with PCSR (arXiv 2407.21448), which follows MATLAB's rgb2ycbcr
and imresize. Pillow and scikit-image (`pip install "pcsr[evaluate]"`) are imported by the functions
that need them. The examples assume `import numpy as np` and `from pcsr.metrics import *`.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError

Channel = Literal["rgb", "y"]
Pixels = NDArray[Any]

SSIM_WINDOW_PX = 11
_SSIM_BAND_ROWS = 256


def luma(image: Pixels) -> NDArray[np.float64]:
    """Computes the Y channel of ITU-R BT.601 in studio swing, as MATLAB's rgb2ycbcr does.

    Examples:
        >>> luma(np.full((1, 2, 3), 255, np.uint8))
        array([[235., 235.]])

    Args:
        image: RGB [H,W,3], uint8 or float, in 0..255.

    Returns:
        [H,W] in 16..235. For uint8 input Y is rounded to integers, as in the published code; for
        float input it is not.

    Raises:
        UsageError: the image is not [H,W,3].
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(f"expected an RGB image [H,W,3], found shape {list(image.shape)}")
    red, green, blue = (image[..., channel].astype(np.float64) for channel in range(3))
    y = (65.481 * red + 128.553 * green + 24.966 * blue) / 255.0 + 16.0
    return np.rint(y) if image.dtype == np.uint8 else y


def psnr(image: Pixels, reference: Pixels, border: int = 0, channel: Channel = "rgb") -> float:
    """Computes the peak signal-to-noise ratio in dB, peak 255; infinite for identical images.

    Examples:
        >>> black, grey = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 16, np.uint8)
        >>> round(psnr(grey, black), 2)
        24.05

    Args:
        image: RGB uint8 [H,W,3].
        reference: the original, of the same shape and dtype.
        border: pixels left out on each side; papers take the scale.
        channel: "rgb" for one mean squared error over all three channels, "y" for that of `luma`.

    Raises:
        UsageError: another dtype or layout, shapes that differ, or no pixel left inside the border.
    """
    image, reference = _planes(image, reference, border, channel)
    difference = np.subtract(image, reference, dtype=np.float32)
    mean_squared_error = float(np.mean(np.square(difference), dtype=np.float64))
    return psnr_of_error(mean_squared_error, 255)


def psnr_of_error(mean_squared_error: float, peak: float) -> float:
    """Computes the PSNR in dB of a mean squared error; it is infinite where there is no error.

    Examples:
        >>> psnr_of_error(1.0, peak=10)
        20.0
    """
    return 10 * math.log10(peak**2 / mean_squared_error) if mean_squared_error else math.inf


def ssim(image: Pixels, reference: Pixels, border: int = 0, channel: Channel = "rgb") -> float:
    """Computes the structural similarity (Wang et al. 2004) with a Gaussian window of 1.5 px.

    Examples:
        >>> round(ssim(photo, photo), 6)
        1.0

    Args and errors are those of `psnr`; "rgb" is the mean over the three channels.

    Returns:
        The mean over all positions of the 11x11 window that lie within the border; nan where the
        image is too small for even one.
    """
    image, reference = _planes(image, reference, border, channel)
    height, width = image.shape[:2]
    if min(height, width) < SSIM_WINDOW_PX:
        return math.nan
    positions = height - SSIM_WINDOW_PX + 1
    total = 0.0
    for top in range(0, positions, _SSIM_BAND_ROWS):
        rows = min(_SSIM_BAND_ROWS, positions - top)
        band = slice(top, top + rows + SSIM_WINDOW_PX - 1)
        total += rows * _mean_ssim(image[band], reference[band])
    return float(total / positions)


def bicubic_resize(image: Pixels, height: int, width: int) -> Pixels:
    """Resizes like MATLAB's imresize(image, [height width], "bicubic"), in either direction.

    Cubic kernel with a = -0.5, widened when shrinking (antialiasing), edges extended symmetrically
    (b a | a b c); each axis has its own scale, out / in. Rounding comes after both axes, as in the
    published code.

    Examples:
        >>> bicubic_resize(photo, 108, 160).shape
        (108, 160, 3)

    Args:
        image: [h,w] or [h,w,C]; integers up to 16 bits, or floats (computed in float32).

    Returns:
        [height,width] or [height,width,C] of the same dtype; integers rounded and clipped to the
        dtype's range, floats left as they come out (the kernel overshoots at edges).

    Raises:
        UsageError: an empty image or size, or a dtype that float32 does not hold.
    """
    if image.ndim not in (2, 3) or min(image.size, height, width) < 1:
        raise UsageError(f"cannot resize an image of shape {list(image.shape)} to {width}x{height}")
    if not (image.dtype.kind == "f" or (image.dtype.kind in "iu" and image.dtype.itemsize <= 2)):
        raise UsageError(f"expected 8- or 16-bit integers or floats, found {image.dtype} pixels")
    planes = np.atleast_3d(image)
    resized = np.empty((height, width, planes.shape[2]), image.dtype)
    for channel in range(planes.shape[2]):
        plane = _resize_plane(planes[..., channel], height, width)
        resized[..., channel] = _fit(plane, image.dtype)
    return resized.reshape(height, width, *image.shape[2:])


def check_scale(scale: float) -> None:
    """Raises UsageError where `scale` is not a finite number of at least 1.

    Examples:
        >>> check_scale(2.5)
    """
    if not 1 <= scale < math.inf:
        raise UsageError(f"expected a scale of at least 1, found {scale:g}")


def lr_size(hr_size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Returns the low-resolution (height, width) of an HR (height, width): floor(side / scale).

    Examples:
        >>> lr_size((1080, 1919), 4)
        (270, 479)

    Raises:
        UsageError: `scale` is not a finite number >= 1, or a side is shorter than one LR pixel.
    """
    check_scale(scale)
    height, width = (math.floor(side / scale) for side in hr_size)
    if min(height, width) < 1:
        raise UsageError(
            f"an image of {hr_size[1]}x{hr_size[0]} pixels is too small for scale {scale:g}"
        )
    return height, width


def crop_to_multiple(image: Pixels, scale: float) -> Pixels:
    """Cuts out the centred part of an HR image that has an exact LR counterpart, as a view.

    Its sides are round(lr * scale) with lr = floor(side / scale): the size that the network gives
    back for that LR image. For an integer scale these are the published demo's multiples of the
    scale, cut where it cuts (an odd pixel goes from the bottom or right).

    Examples:
        >>> crop_to_multiple(photo, 4).shape  # of [27, 40, 3]
        (24, 40, 3)

    Args:
        image: [H,W] or [H,W,C].

    Raises:
        UsageError: `scale` is not a finite number >= 1, or the image is smaller than one LR pixel.
    """
    full_height, full_width = image.shape[:2]
    height, width = (round(side * scale) for side in lr_size((full_height, full_width), scale))
    top, left = (full_height - height) // 2, (full_width - width) // 2
    return image[top : top + height, left : left + width]


def degrade(image: Pixels, scale: float) -> tuple[Pixels, Pixels]:
    """Makes the standard test pair: the HR image cropped to fit, and its bicubic LR image.

    Both keep the dtype: an 8-bit image gives an 8-bit LR image, as test sets store it (the
    published demo feeds the network unrounded values instead).

    Examples:
        >>> hr, lr = degrade(photo, 4)
        >>> hr.shape, lr.shape
        ((24, 40, 3), (6, 10, 3))

    Args:
        image: [H,W] or [H,W,C].

    Returns:
        HR `[round(h*scale),round(w*scale)(,C)]` and LR [h,w(,C)] with h = floor(H/scale).

    Raises:
        UsageError: as for `crop_to_multiple` and `bicubic_resize`.
    """
    hr = crop_to_multiple(image, scale)
    return hr, bicubic_resize(hr, *lr_size((image.shape[0], image.shape[1]), scale))


def _planes(
    image: Pixels, reference: Pixels, border: int, channel: Channel
) -> tuple[Pixels, Pixels]:
    """Cuts both to [H,W,C] within the border: C is 3 (uint8) for "rgb", 1 (float64) for "y"."""
    for pixels in (image, reference):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            found = f"{pixels.dtype} {list(pixels.shape)}"
            raise UsageError(f"expected RGB images of uint8 [H,W,3], found {found}")
    if image.shape != reference.shape:
        sizes = f"{list(image.shape)} and {list(reference.shape)}"
        raise UsageError(f"expected two images of the same shape, found {sizes}")
    height, width = image.shape[:2]
    if not 0 <= 2 * border < min(height, width):
        raise UsageError(
            f"a border of {border} px does not fit an image of {width}x{height} pixels"
        )
    inside = (slice(border, height - border), slice(border, width - border))
    if channel == "y":
        return luma(image[inside])[..., None], luma(reference[inside])[..., None]
    return image[inside], reference[inside]


def _mean_ssim(image: Pixels, reference: Pixels) -> float:
    from skimage.metrics import structural_similarity

    found: float = structural_similarity(  # type: ignore[no-untyped-call]
        image,
        reference,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1,
    )
    return found


def _resize_plane(plane: Pixels, height: int, width: int) -> NDArray[np.float32]:
    """Resizes [h,w] with Pillow, which has MATLAB's kernel but not its edges: those are padded."""
    from PIL import Image

    rows, columns = plane.shape
    pad_y, pad_x = _kernel_reach(rows, height), _kernel_reach(columns, width)
    padded = np.pad(plane.astype(np.float32), ((pad_y, pad_y), (pad_x, pad_x)), mode="symmetric")
    box = (pad_x, pad_y, pad_x + columns, pad_y + rows)
    resized = Image.fromarray(padded).resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized)


def _kernel_reach(size_in: int, size_out: int) -> int:
    return math.ceil(2 * max(1.0, size_in / size_out)) + 1


def _fit(plane: NDArray[np.float32], dtype: np.dtype[Any]) -> Pixels:
    if dtype.kind == "f":
        return plane.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(plane), limits.min, limits.max).astype(dtype)
