"""Colours of a video: the RGB that is computed with, and the YUV that is written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr.runtime.files.colour import Colour
from pcsr.runtime.files.video import Encoding, open_video, upscale_video
from pcsr.runtime.result import Result, Stats

from .videos import Content, content, planes, write

LIMITED, FULL = 1, 2
BT601, BT709, UNSPECIFIED, BT2020 = 6, 1, 2, 9
LUMA = {BT601: (0.299, 0.114), BT709: (0.2126, 0.0722), BT2020: (0.2627, 0.0593)}  # red, blue
BAR = 8  # columns of a bar
# White, yellow, cyan, green, magenta, red, blue, black at 75 %, then a gray ramp.
BARS = np.array([[r, g, b] for g in (0.75, 0) for r in (0.75, 0) for b in (0.75, 0)])
RAMP = np.linspace(0, 1, 16)[:, None] * np.ones(3)
RGB = np.repeat(np.concatenate([BARS, RAMP]), BAR, axis=0)  # [columns, 3]
CASES = [
    (matrix, range_, depth)
    for matrix in (BT601, BT709, BT2020)
    for range_ in (LIMITED, FULL)
    for depth in (8, 10)
]
TOLERANCE = 2 / 255  # rounding to 8 bits, twice; libswscale's 16-bit white is 65280, not 65535


def yuv(matrix: int, range_: int, depth: int) -> NDArray[np.float64]:
    """[columns, 3] codes of RGB by the formulas of ITU-R BT.601, BT.709 and BT.2020."""
    red, blue = LUMA[matrix]
    luma = RGB @ [red, 1 - red - blue, blue]
    chroma = [(RGB[:, 2] - luma) / (2 - 2 * blue), (RGB[:, 0] - luma) / (2 - 2 * red)]
    unit = 2.0 ** (depth - 8)
    peak = 2.0**depth - 1
    middle = 128 * unit
    if range_ == FULL:
        return np.stack([luma * peak, *(c * peak + middle for c in chroma)], axis=1)
    spans = [luma * 219 * unit + 16 * unit, *(c * 224 * unit + middle for c in chroma)]
    return np.stack(spans, axis=1)


def frame_of(codes: NDArray[np.float64], depth: int) -> av.VideoFrame:
    """16 rows of the same columns, 4:2:0."""
    frame = av.VideoFrame(codes.shape[0], 16, "yuv420p" if depth == 8 else "yuv420p10le")
    for plane, column in zip(frame.planes, codes.T, strict=True):
        row = np.rint(column[:: codes.shape[0] // plane.width])
        dtype: Any = np.uint8 if depth == 8 else "<u2"
        rows = np.zeros((plane.height, plane.line_size // np.dtype(dtype).itemsize), dtype)
        rows[:, : plane.width] = np.clip(row, 0, 2**depth - 1)
        plane.update(rows.tobytes())
    return frame


class Twice:
    """In place of the network: every pixel four times."""

    def __init__(self) -> None:
        self.seen: list[NDArray[Any]] = []

    def __call__(self, pixels: NDArray[Any]) -> Result:
        """As an `Upscaler`."""
        self.seen.append(pixels)
        large = pixels.repeat(2, axis=0).repeat(2, axis=1)
        stats = Stats(pixels.shape[:2], large.shape[:2], (), None, {}, 0.0)
        return Result(large, None, None, stats)


def converted(source: Path, target: Path, codec: str | None = None) -> tuple[Twice, Content]:
    twice = Twice()
    with open_video(source, 10**6) as opened:
        size = (2 * opened.size[0], 2 * opened.size[1])
        crf = None if codec else 0
        upscale_video(opened, target, size, twice, Encoding(codec, crf))
    return twice, content(target)


def inner_columns() -> Iterator[slice]:
    """Of each bar, where no neighbour's chroma reaches."""
    for start in range(0, RGB.shape[0], BAR):
        yield slice(start + 3, start + BAR - 3)


@pytest.mark.parametrize(("matrix", "range_", "depth"), CASES)
def test_bars_and_ramp(matrix: int, range_: int, depth: int, tmp_path: Path) -> None:
    codes = yuv(matrix, range_, depth)
    says: dict[str, Any] = {"color_range": range_, "colorspace": matrix}
    says |= {"color_trc": 1, "color_primaries": 5}
    write(tmp_path / "in.mp4", [frame_of(codes, depth)] * 2, **says)
    twice, found = converted(tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert Colour.of(found.frames[0]) == Colour(matrix, range_, 5, 1, depth)
    peak = 255 if depth == 8 else 65535
    for part in inner_columns():
        rgb = twice.seen[0][4:-4, part] / peak
        np.testing.assert_allclose(rgb, np.broadcast_to(RGB[part], rgb.shape), atol=TOLERANCE)
    for plane, column in zip(planes(found.frames[0]), codes.T, strict=True):
        height = plane.shape[0]
        wide = plane.repeat(2 * RGB.shape[0] // plane.shape[1], axis=1)
        for part in inner_columns():
            both = slice(2 * part.start, 2 * part.stop)
            unit = 2 ** (depth - 8)
            assert (
                np.abs(wide[height // 4 : -height // 4, both] - column[part].mean()).max()
                <= 2 * unit
            )


@pytest.mark.parametrize("rows", [16, 360, 720])
def test_unspecified_is_tagged_with_what_it_was_taken_for(rows: int, tmp_path: Path) -> None:
    """Players guess by the size, which changes: 360 rows become 720."""
    matrix = BT709 if rows >= 720 else BT601
    frame = frame_of(yuv(matrix, LIMITED, 8), 8)
    tall = av.VideoFrame(frame.width, rows, "yuv420p")
    for plane, like in zip(tall.planes, frame.planes, strict=True):
        row = bytes(like)[: like.line_size]
        plane.update(row * plane.height)
    write(tmp_path / "in.mp4", [tall])
    twice, found = converted(tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert Colour.of(found.frames[0]) == Colour(matrix, LIMITED, UNSPECIFIED, UNSPECIFIED, 8)
    back = Colour.of(found.frames[0]).to_rgb(found.frames[0]) / 255
    for part in inner_columns():
        rgb = twice.seen[0][4:-4, part] / 255
        np.testing.assert_allclose(rgb, np.broadcast_to(RGB[part], rgb.shape), atol=TOLERANCE)
        wide = back[8:-8, 2 * part.start : 2 * part.stop].mean((0, 1))
        np.testing.assert_allclose(wide, RGB[part].mean(0), atol=2 * TOLERANCE)


@pytest.mark.parametrize("pix_fmt", ["gray", "bgr0", "yuva420p", "yuv422p", "gbrp10le"])
def test_other_layouts_become_rgb(pix_fmt: str, tmp_path: Path) -> None:
    rgb = np.rint(np.broadcast_to(RGB * 255, (16, *RGB.shape))).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb)).reformat(format=pix_fmt)
    write(tmp_path / "in.mkv", [frame], codec="ffv1")
    twice, found = converted(tmp_path / "in.mkv", tmp_path / "out.mkv")
    assert found.frames[0].format.name == ("yuv420p10le" if "10" in pix_fmt else "yuv420p")
    back = Colour.of(found.frames[0]).to_rgb(found.frames[0])
    peak = 255 if "10" not in pix_fmt else 65535
    for part in inner_columns():
        seen = twice.seen[0][4:-4, part] / peak
        if pix_fmt != "gray":
            np.testing.assert_allclose(seen, np.broadcast_to(RGB[part], seen.shape), atol=0.01)
        again = back[8:-8, 2 * part.start : 2 * part.stop] / peak
        np.testing.assert_allclose(again.mean((0, 1)), seen.mean((0, 1)), atol=0.01)
