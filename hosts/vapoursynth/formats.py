"""Which clips are taken, and their frames as images: RGB as [h, w, 3], gray as [h, w]."""

from typing import Any

import numpy as np
import vapoursynth as vs
from numpy.typing import NDArray

from pcsr.errors import ImageError

Pixels = NDArray[Any]

TAKEN = "8 or 16 bit integers or 32 bit floats"
TO_RGB = 'clip.resize.Bicubic(format=vs.RGBS, matrix_in_s="709"), with the matrix of your clip'


def refuse_others(clip: vs.VideoNode, device: str) -> None:
    """Raises ImageError for a clip that is not taken: its format, or one that changes."""
    if not isinstance(clip, vs.VideoNode):
        raise ImageError(f"expected a clip of video, found a {type(clip).__name__}")
    family = clip.format.color_family
    if family == vs.UNDEFINED or 0 in (clip.width, clip.height):
        raise ImageError(
            "expected a clip of one format and one size, found one that changes; convert it "
            "first: clip.resize.Bicubic(width=..., height=..., format=vs.RGBS)"
        )
    if family not in (vs.RGB, vs.GRAY):
        raise ImageError(
            f"expected an RGB or gray clip, found {clip.format.name}; convert it first: {TO_RGB}"
        )
    _refuse_depth(clip.format, device)


def _refuse_depth(form: vs.VideoFormat, device: str) -> None:
    bits, is_float = form.bits_per_sample, form.sample_type == vs.FLOAT
    letter = "RGB" if form.color_family == vs.RGB else "GRAY"
    if is_float and bits == 16 and device == "cpu":
        raise ImageError(
            f"{form.name} is taken on a GPU only; convert it first: "
            f"clip.resize.Point(format=vs.{letter}S)"
        )
    if bits not in ((16, 32) if is_float else (8, 16)):
        better = "48" if letter == "RGB" else "16"
        target = f"{letter}S" if is_float or bits > 16 else letter + better
        raise ImageError(
            f"expected {TAKEN}, found {form.name}; convert it first: "
            f"clip.resize.Point(format=vs.{target})"
        )


def pixels_of(frame: vs.VideoFrame) -> Pixels:
    """Gives a frame's pixels: [h, w, 3], or [h, w] of one plane; halves as float32."""
    planes = [np.asarray(frame[plane]) for plane in range(frame.format.num_planes)]
    pixels = planes[0] if len(planes) == 1 else np.stack(planes, axis=2)
    return pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels


def put(pixels: Pixels, frame: vs.VideoFrame) -> None:
    """Writes pixels, as `pixels_of` gives them, into a frame of the same size."""
    for plane in range(frame.format.num_planes):
        source = pixels if pixels.ndim == 2 else pixels[..., plane]
        np.copyto(np.asarray(frame[plane]), source, casting="same_kind")
