"""The colours of a video say how its YUV frames and RGB pixels turn into each other."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from pcsr.errors import ImageError

RGB, BT709, UNSPECIFIED = 0, 1, 2  # of a matrix, by ITU-T H.273
_SWSCALE = {  # which of its matrices libswscale takes for one of H.273
    BT709: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
_HD_HEIGHT = 720  # from here on an unspecified matrix is taken for BT.709, below for BT.601
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

    @classmethod
    def of(cls, frame: VideoFrame) -> "Colour":
        """Reads the colours of a frame; raises ImageError for a matrix unknown to libswscale."""
        matrix = frame.colorspace
        if frame.format.is_rgb:
            matrix = RGB
        elif matrix != UNSPECIFIED and matrix not in _SWSCALE:
            raise ImageError(
                f"expected colours by BT.601, BT.709, BT.2020 or the like, found matrix {matrix} "
                "of ITU-T H.273; convert it first"
            )
        depth = max(component.bits for component in frame.format.components)
        return cls(matrix, frame.color_range, frame.color_primaries, frame.color_trc, depth)

    def to_rgb(self, frame: VideoFrame) -> NDArray[Any]:
        """Turns a frame into [h, w, 3] uint8, or uint16 where the video has more than 8 bits."""
        rgb = frame.reformat(
            format="rgb24" if self.depth <= 8 else "rgb48le",
            src_colorspace=None if self.matrix == RGB else self._swscale(frame.height),
            src_color_range=ColorRange.JPEG if self.matrix == RGB else self._range(),
            dst_color_range=ColorRange.JPEG,
            interpolation=_EXACT,
            threads=1,  # the cores are for the network
        )
        return np.ascontiguousarray(rgb.to_ndarray())

    def for_yuv(self, height: int) -> "Colour":
        """Returns the colours of a YUV video of this height made of this one, which may be RGB."""
        if self.matrix != RGB:
            return self
        return replace(self, matrix=BT709 if height >= _HD_HEIGHT else 6, range_=1)

    def from_rgb(self, pixels: NDArray[Any], pix_fmt: str) -> VideoFrame:
        """Makes a frame of these colours from [h, w, 3] uint8 or uint16."""
        rgb = VideoFrame.from_ndarray(pixels, "rgb24" if pixels.dtype == np.uint8 else "rgb48le")
        return rgb.reformat(
            format=pix_fmt,
            src_color_range=ColorRange.JPEG,
            dst_colorspace=self._swscale(pixels.shape[0]),
            dst_color_range=self._range(),
            interpolation=_EXACT,
            threads=1,  # the cores are for the network
        )

    def _swscale(self, height: int) -> Colorspace:
        if self.matrix == UNSPECIFIED:
            return Colorspace.ITU709 if height >= _HD_HEIGHT else Colorspace.ITU601
        return _SWSCALE[self.matrix]

    def _range(self) -> ColorRange:
        return ColorRange.JPEG if self.range_ == ColorRange.JPEG else ColorRange.MPEG
