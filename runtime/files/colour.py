"""The colours of a video say how its YUV frames and RGB pixels turn into each other."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from av import VideoFrame
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from pcsr.errors import ImageError

RGB, BT709, UNSPECIFIED, BT601 = 0, 1, 2, 6  # of a matrix, by ITU-T H.273
_SWSCALE = {  # which of its matrices libswscale takes for one of H.273
    BT709: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    BT601: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
_MEANINGLESS = (RGB, 3)  # of a video that is not RGB
_HD_HEIGHT = 720  # from here on an unspecified matrix is taken for BT.709, below for BT.601
_LIMITED, _FULL = ColorRange.MPEG.value, ColorRange.JPEG.value
_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)


@dataclass(frozen=True)
class Colour:
    """Holds what a video says of its colours, in the numbers of ITU-T H.273: 2 is unspecified."""

    matrix: int
    range_: int
    """0 is unspecified (taken for limited), 1 limited, 2 full."""
    primaries: int
    transfer: int
    depth: int
    """Bits per sample."""
    alpha: bool = False
    gray: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "Colour":
        """Reads the colours of a frame; raises ImageError for a matrix unknown to libswscale."""
        form, matrix, range_ = frame.format, frame.colorspace, frame.color_range
        if form.is_rgb or form.has_palette:
            matrix = RGB
        elif matrix in _MEANINGLESS:
            matrix = UNSPECIFIED
        elif matrix != UNSPECIFIED and matrix not in _SWSCALE:
            raise ImageError(
                f"expected colours by BT.601, BT.709, BT.2020 or the like, found matrix {matrix} "
                "of ITU-T H.273; convert it first"
            )
        if form.name.startswith("yuvj"):
            range_ = _FULL
        parts = form.components
        alpha = form.has_palette or any(part.is_alpha for part in parts)
        gray = len(parts) - alpha == 1 and matrix != RGB
        depth = max(part.bits for part in parts)
        return cls(matrix, range_, frame.color_primaries, frame.color_trc, depth, alpha, gray)

    def to_rgb(self, frame: VideoFrame) -> NDArray[Any]:
        """Turns a frame into [h, w, 3] RGB, or [h, w, 4] RGBA where it has alpha.

        uint8, or uint16 where the video has more than 8 bits.
        """
        rgb = frame.reformat(
            format=_pixel_format(self.depth > 8, self.alpha),
            src_colorspace=None if self.matrix == RGB else self._swscale(frame.height),
            src_color_range=ColorRange.JPEG if self.matrix == RGB else self._range(),
            dst_color_range=ColorRange.JPEG,
            interpolation=_EXACT,
            threads=1,  # the cores are for the network
        )
        pixels = np.ascontiguousarray(rgb.to_ndarray())
        if self.gray and self.range_ == _LIMITED:  # libswscale takes all gray for full
            pixels[..., :3] = _full(pixels[..., :3])
        return pixels

    def is_opaque(self, pixels: NDArray[Any]) -> bool:
        """Tests whether [h, w, 4] of `to_rgb` are nowhere transparent."""
        bits = 8 * pixels.itemsize
        depth = min(self.depth, bits)
        return bool(int(pixels[..., 3].min()) >> (bits - depth) == 2**depth - 1)

    def for_writing(self, pix_fmt: str, lr_height: int, hr_height: int) -> "Colour":
        """Returns the colours of a result, of `hr_height` rows, made of a video of these.

        What the source leaves unspecified becomes what it was taken for: players guess by the
        size, which has changed.
        """
        if VideoFormat(pix_fmt).is_rgb:
            return replace(self, matrix=RGB, range_=_FULL)
        if self.matrix == RGB:
            return replace(self, matrix=_usual(hr_height), range_=_LIMITED)
        matrix = _usual(lr_height) if self.matrix == UNSPECIFIED else self.matrix
        return replace(self, matrix=matrix, range_=self.range_ or _LIMITED)

    def from_rgb(self, pixels: NDArray[Any], pix_fmt: str) -> VideoFrame:
        """Makes a frame of these colours from [h, w, 3] or [h, w, 4] uint8 or uint16."""
        form = _pixel_format(pixels.dtype != np.uint8, pixels.shape[2] == 4)
        rgb = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), form)
        return rgb.reformat(
            format=pix_fmt,
            src_color_range=ColorRange.JPEG,
            dst_colorspace=None if self.matrix == RGB else self._swscale(pixels.shape[0]),
            dst_color_range=self._range(),
            interpolation=_EXACT,
            threads=1,  # the cores are for the network
        )

    def _swscale(self, height: int) -> Colorspace:
        if self.matrix == UNSPECIFIED:
            return _SWSCALE[_usual(height)]
        return _SWSCALE[self.matrix]

    def _range(self) -> ColorRange:
        return ColorRange.JPEG if self.range_ == ColorRange.JPEG else ColorRange.MPEG


def _usual(height: int) -> int:
    return BT709 if height >= _HD_HEIGHT else BT601


def _pixel_format(is_deep: bool, alpha: bool) -> str:
    if is_deep:
        return "rgba64le" if alpha else "rgb48le"
    return "rgba" if alpha else "rgb24"


def _full(gray: NDArray[Any]) -> NDArray[Any]:
    unit = 2.0 ** (8 * (gray.itemsize - 1))
    peak = np.iinfo(gray.dtype).max
    scaled = (gray.astype(np.float32) - 16 * unit) * (peak / (219 * unit))
    whole: NDArray[Any] = np.rint(scaled).clip(0, peak).astype(gray.dtype)
    return whole
