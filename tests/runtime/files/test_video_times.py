"""Times of frames and packets rise, whatever a file says."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pcsr.runtime.files.video_times import Rising

from .pictures import colours
from .test_video_kinds import KINDS, converted, made
from .videos import SIZE, content, video

MS = Fraction(1, 1000)


@pytest.mark.parametrize(
    ("times", "expected", "moved", "jumps"),
    [
        ([0, 40, 80], [0, 40, 80], 0, 0),
        ([-80, -40, 0], [-80, -40, 0], 0, 0),
        ([0, 40, 40, 80], [0, 40, 41, 80], 1, 0),
        ([0, 40, 20, 80], [0, 40, 41, 80], 1, 0),
        ([0, None, 80, None], [0, 40, 80, 120], 0, 0),
        ([None, None], [0, 40], 0, 0),
        ([0, 40, 500_000], [0, 40, 500_000], 0, 0),
        ([0, 40, 100, 60], [0, 40, 100, 101], 1, 0),
        ([9000, 9040, 0, 40], [9000, 9040, 9080, 9120], 0, 1),
        ([9000, 9040, 0, 9120], [9000, 9040, 9080, 9120], 0, 1),
    ],
)
def test_rising(times: Sequence[int | None], expected: list[int], moved: int, jumps: int) -> None:
    rising = Rising(MS)
    assert [rising.next(time, 40) for time in times] == expected
    assert (rising.moved, rising.jumps) == (moved, jumps)
    assert len(rising.warnings("frames")) == bool(moved) + bool(jumps)


def test_a_long_gap_is_said() -> None:
    rising = Rising(MS)
    assert [rising.next(time, 40) for time in (0, 40, 900_040)] == [0, 40, 900_040]
    assert rising.warnings("frames") == ["there is a gap of 900 s between frames"]


def test_recordings_joined(tmp_path: Path) -> None:
    """The second begins anew, in sound and video alike."""
    first, second = (made(tmp_path / name, *KINDS[".ts"]) for name in ("a.ts", "b.ts"))
    first.write_bytes(first.read_bytes() + second.read_bytes())
    stats = converted(first, tmp_path / "out.mp4")
    found = content(tmp_path / "out.mp4")
    assert stats.frames == 16
    assert [line for line in stats.warnings if "goes back" in line] == [
        f"the time of the {what} goes back (1 x): what follows was moved"
        for what in ("audio packets", "frames")
    ]
    steps = [b - a for a, b in pairwise(found.times)]
    assert steps == [Fraction(1, 25)] * 15


def test_one_time_for_all() -> None:
    rising = Rising(MS)
    found = [rising.next(7, 40) for _ in range(1000)]
    assert all(a < b for a, b in pairwise(found))
    assert rising.moved + rising.jumps == 999


def test_the_least_step_is_a_millisecond() -> None:
    assert [Rising(Fraction(1, 90_000)).next(0, 1)] == [0]
    rising = Rising(Fraction(1, 90_000))
    assert [rising.next(time, 3003) for time in (0, 0)] == [0, 90]
    rising = Rising(Fraction(1, 25))
    assert [rising.next(time, 1) for time in (0, 0)] == [0, 1]


def with_times(path: Path, times: Sequence[int]) -> Path:
    """A Matroska file whose packets have these times, in ms."""
    source = video(path.with_name("even.mkv"), len(times), "libopus", max_b_frames=0)
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        copies: dict[int, Any] = {s.index: new.add_stream_from_template(s) for s in old.streams}
        left = list(times)
        for packet in old.demux():
            if packet.size:
                if packet.stream.type == "video":
                    packet.pts = packet.dts = left.pop(0)
                packet.stream = copies[packet.stream.index]
                new.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_one_time_twice(suffix: str, tmp_path: Path) -> None:
    source = with_times(tmp_path / "in.mkv", [0, 40, 80, 80, 120, 160])
    stats = converted(source, tmp_path / f"out{suffix}", "libx264" if suffix == ".mp4" else None)
    found = content(tmp_path / f"out{suffix}")
    assert [time / MS for time in found.times] == [0, 40, 80, 81, 120, 160]
    assert stats.warnings == (
        "moved the time of 1 of the frames, which was not after the one before",
    )
    assert len(found.packets[0]) == 26


@pytest.mark.parametrize(("codec", "b_frames"), [("libx264", 3), ("mpeg4", 2), ("mpeg4", 0)])
def test_b_frames_in_avi(codec: str, b_frames: int, tmp_path: Path) -> None:
    """AVI has the order of decoding only."""
    with av.open(str(tmp_path / "in.avi"), "w") as file:
        stream: Any = file.add_stream(codec, rate=25)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.max_b_frames = b_frames
        for level in range(20):
            pixels = np.full((*SIZE, 3), 10 * level + 20, np.uint8)
            pixels[:8] = colours((8, SIZE[1]), level)
            frame = av.VideoFrame.from_ndarray(pixels).reformat(format="yuv420p")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    stats = converted(tmp_path / "in.avi", tmp_path / "out.mp4")
    found = content(tmp_path / "out.mp4")
    assert stats.warnings == ()
    steps = [b - a for a, b in zip(found.times, found.times[1:], strict=False)]
    assert steps == [Fraction(1, 25)] * 19
    assert 0 <= found.times[0] <= Fraction(b_frames, 25)  # the muxer writes the first DTS as 0
    levels = [frame.to_ndarray()[40:60].mean() for frame in found.frames]
    assert levels == sorted(levels), "in the order of showing"
