"""Alpha of videos is kept where the encoder and the container hold it; else a warning says so."""

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr.runtime.files.video import open_video

from .test_video_kinds import converted
from .videos import video, write

RAMP = np.linspace(0, 255, 48).round().astype(np.uint8)  # of alpha, from left to right


def with_alpha(path: Path, codec: str, pix_fmt: str, opaque: bool = False) -> Path:
    """Three gray frames whose alpha is a ramp."""
    pixels = np.full((32, 48, 4), 128, np.uint8)
    pixels[..., 3] = 255 if opaque else RAMP
    rgba = av.VideoFrame.from_ndarray(pixels, "rgba")
    write(path, [rgba.reformat(format=pix_fmt) for _ in range(3)], codec=codec)
    return path


def alpha_of(path: Path) -> NDArray[np.float64]:
    """Alpha in [0, 1] of the middle row of the last frame, [columns]; ones where there is none."""
    with open_video(path, 10**6) as opened:
        frames = [chunk.pixels for chunk in opened.chunks() if chunk.pixels is not None]
    assert len(frames) == 3
    row = frames[-1][frames[-1].shape[0] // 2]
    if row.shape[1] == 3:
        return np.ones(len(row))
    return np.asarray(row[:, 3] / float(np.iinfo(row.dtype).max), np.float64)


SOURCES = {
    "in.webm": ("libvpx-vp9", "yuva420p"),
    "in.mov": ("prores_ks", "yuva444p10le"),
    "argb.mov": ("qtrle", "argb"),
    "png.mov": ("png", "rgba"),
    "in.mkv": ("ffv1", "bgra"),
    "yuv.mkv": ("ffv1", "yuva444p"),
}
TARGETS = {
    "out.webm": None,
    "out.mkv": "ffv1",
    "out.mov": "prores_ks",
    "rle.mov": "qtrle",
    "png.mov": "png",
}


@pytest.mark.parametrize("name", SOURCES)
def test_alpha_is_read(name: str, tmp_path: Path) -> None:
    source = with_alpha(tmp_path / name, *SOURCES[name])
    stats = converted(source, tmp_path / "out.mkv", "ffv1")
    assert not [line for line in stats.warnings if "transparency" in line]
    expected = RAMP.repeat(2) / 255
    np.testing.assert_allclose(alpha_of(tmp_path / "out.mkv"), expected, atol=0.03)


@pytest.mark.parametrize("name", TARGETS)
def test_alpha_is_written(name: str, tmp_path: Path) -> None:
    source = with_alpha(tmp_path / "in.mkv", "ffv1", "bgra")
    stats = converted(source, tmp_path / name, TARGETS[name])
    assert stats.warnings == ()
    np.testing.assert_allclose(alpha_of(tmp_path / name), RAMP.repeat(2) / 255, atol=0.05)


@pytest.mark.parametrize(
    ("name", "codec"), [("out.mp4", None), ("vp9.mp4", "libvpx-vp9"), ("out.mkv", "libx265")]
)
def test_alpha_that_is_not_held_is_said(name: str, codec: str | None, tmp_path: Path) -> None:
    source = with_alpha(tmp_path / "in.webm", "libvpx-vp9", "yuva420p")
    stats = converted(source, tmp_path / name, codec)
    assert len(stats.warnings) == 1
    assert "left out its transparency, which lib" in stats.warnings[0]
    assert ".webm, or --codec prores_ks" in stats.warnings[0]
    with av.open(str(tmp_path / name)) as file:
        assert "alpha_mode" not in file.streams.video[0].metadata


def test_opaque_alpha_may_go(tmp_path: Path) -> None:
    source = with_alpha(tmp_path / "in.mov", "prores_ks", "yuva444p10le", opaque=True)
    stats = converted(source, tmp_path / "out.mp4")
    assert not [line for line in stats.warnings if "transparency" in line]


def test_a_mark_of_alpha_without_alpha_goes(tmp_path: Path) -> None:
    source = video(tmp_path / "in.mkv", 3, None)
    with av.open(str(source)) as old, av.open(str(tmp_path / "marked.mkv"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        stream.metadata["alpha_mode"] = "1"
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    converted(tmp_path / "marked.mkv", tmp_path / "out.webm")
    with av.open(str(tmp_path / "out.webm")) as file:
        assert "alpha_mode" not in file.streams.video[0].metadata
