"""Small video files for the tests, and what is in a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from .pictures import colours

SIZE = (32, 48)  # (height, width)
LARGE = (128, 192)
TIME_BASE = Fraction(1, 90_000)
RATE = Fraction(30_000, 1001)
STEP = 3003  # of RATE in TIME_BASE


def video(
    path: Path,
    frames: int = 8,
    audio: str | None = "aac",
    pts: Sequence[int] | None = None,
    size: tuple[int, int] = SIZE,
    pix_fmt: str = "yuv420p",
    codec: str = "libx264",
    subtitles: bool = False,
    **context: Any,  # noqa: ANN401
) -> Path:
    """Writes a video of pictures, losslessly; `context` sets attributes of its encoder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = [
        av.VideoFrame.from_ndarray(colours(size, seed)).reformat(format=pix_fmt)
        for seed in range(frames)
    ]
    write(path, shown, audio, pts, codec, subtitles, **context)
    return path


def write(
    path: Path,
    frames: Sequence[av.VideoFrame],
    audio: str | None = None,
    pts: Sequence[int] | None = None,
    codec: str = "libx264",
    subtitles: bool = False,
    matrix: Sequence[int] | None = None,
    **context: Any,  # noqa: ANN401
) -> None:
    """Writes frames as they are, a tone of half a second and a line of text."""
    first, faststart = frames[0], {"movflags": "faststart"}
    with av.open(
        str(path.absolute()), "w", options=faststart if path.suffix == ".mp4" else {}
    ) as file:
        options = {"crf": "0"} if codec == "libx264" else {}
        stream: Any = file.add_stream(codec, rate=RATE, options=options)
        stream.height, stream.width = first.height, first.width
        stream.pix_fmt = first.format.name
        time_base = 1 / RATE if path.suffix == ".avi" else TIME_BASE
        stream.codec_context.time_base = time_base
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if matrix:
            stream.set_display_matrix(matrix)
        tone: Any = file.add_stream(audio, rate=48_000) if audio else None
        lines: Any = file.add_mux_stream("subrip") if subtitles else None
        for number, frame in enumerate(frames):
            step = int(1 / RATE / time_base)
            frame.pts, frame.time_base = pts[number] if pts else number * step, time_base
            frame.duration = step
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if tone:
            add_tone(file, tone)
        if lines:
            _add_text(file, lines)


def add_tone(file: av.container.OutputContainer, stream: Any) -> None:  # noqa: ANN401
    """Half a second, encoded for a stream."""
    wave = np.sin(np.arange(960 * 25) / 20).astype(np.float32) / 4
    for start in range(0, wave.size, 960):
        part = np.broadcast_to(wave[start : start + 960], (2, 960))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "fltp", "stereo")
        frame.sample_rate, frame.pts = 48_000, start
        if stream.format.name != "fltp":
            frame = av.AudioResampler(stream.format, "stereo", 48_000).resample(frame)[0]
        file.mux(stream.encode(frame))
    file.mux(stream.encode())


def _add_text(file: av.container.OutputContainer, stream: Any) -> None:  # noqa: ANN401
    packet = av.Packet(b"a line of text")
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = 100
    packet.duration = 200
    file.mux(packet)


@dataclass(frozen=True, eq=False)
class Content:
    """All of a file. times: seconds of each frame; packets: (seconds, bytes) of other streams."""

    frames: list[av.VideoFrame]
    times: list[Fraction]
    packets: list[list[tuple[Fraction, bytes]]]
    video: dict[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.frames[0].height, self.frames[0].width


def content(path: Path) -> Content:
    """Decodes the video and lists the packets of the other streams."""
    with av.open(str(path.absolute())) as file:
        stream = file.streams.video[0]
        others = [s for s in file.streams if s.type in ("audio", "subtitle")]
        frames: list[av.VideoFrame] = []
        packets: dict[int, list[tuple[Fraction, bytes]]] = {s.index: [] for s in others}
        for packet in file.demux(stream, *others):
            if packet.stream.index == stream.index:
                frames += [f for f in packet.decode() if isinstance(f, av.VideoFrame)]
            elif packet.size:
                time = (packet.pts or 0) * packet.time_base
                packets[packet.stream.index].append((time, bytes(packet)))
        context = stream.codec_context
        says = {
            "rate": stream.average_rate,
            "aspect": stream.sample_aspect_ratio,
            "codec": context.name,
        }
    times = [(f.pts or 0) * (f.time_base or TIME_BASE) for f in frames]
    return Content(frames, times, list(packets.values()), says)


def planes(frame: av.VideoFrame) -> list[NDArray[Any]]:
    """Each plane of a frame as [rows, columns], without padding."""
    dtype = np.uint8 if max(c.bits for c in frame.format.components) == 8 else np.dtype("<u2")
    found = []
    for plane in frame.planes:
        rows = np.frombuffer(bytes(plane), dtype).reshape(plane.height, -1)
        found.append(rows[:, : plane.width])
    return found
