"""The source of a video gives its frames as RGB, its other streams as packets."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from pcsr.errors import ImageError

from .colour import Colour

if TYPE_CHECKING:
    Packet = av.Packet[Any]
else:
    Packet = av.Packet  # generic in its stubs only

_SHORTFALL_S = 0.1  # how much earlier than stated a file may end
_COPIED = ("audio", "subtitle")


@dataclass(frozen=True, eq=False)
class Chunk:
    """Packets of other streams, and the frame that follows them."""

    packets: list[Packet]
    pixels: NDArray[Any] | None = None
    """[h, w, 3] RGB, uint8 or uint16; None behind the last frame."""
    pts: int = 0
    """As `duration` in the video stream's time base."""
    duration: int = 0


class VideoSource(AbstractContextManager["VideoSource"]):
    """The first video stream of a file. It is a context; another thread may use `chunks`.

    Raises:
        ImageError: no such file, no video in it, damaged, or more than `max_pixels` in a frame.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path = path
        with self._image_errors(), ExitStack() as opened:
            self.container = av.open(str(path), "r", metadata_errors="replace")
            opened.callback(self.container.close)
            self.stream = self._video_stream()
            self._check_size(max_pixels)
            self.stream.thread_type = "AUTO"
            self.copied = [s for s in self.container.streams if s.type in _COPIED]
            frames = self._frames()
            packets, first = next(frames, ([], None))
            if first is None:
                raise ImageError("there is no frame in it; name another file")
            self.first = first
            self.colour = Colour.of(first)
            self._frames_left = chain([(packets, first)], frames)
            opened.pop_all()

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a frame."""
        return self.first.height, self.first.width

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of a timestamp."""
        return self.stream.time_base or Fraction(1, 1000)

    @property
    def rate(self) -> Fraction:
        """Frames per second on average, as the file states or shows it."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    def chunks(self) -> Iterator[Chunk]:
        """Yields all frames in order, once.

        Raises:
            ImageError: the file is damaged, or ends earlier than it says.
        """
        number, last = 0, None
        with self._image_errors():
            for packets, frame in self._frames_left:
                if frame is None:
                    yield Chunk(packets)
                    return
                number += 1
                self._check_frame(frame, number)
                pts = self._timestamp(frame, last, number)
                yield Chunk(packets, self.colour.to_rgb(frame), pts, frame.duration)
                last = pts

    def _frames(self) -> Iterator[tuple[list[Packet], av.VideoFrame | None]]:
        packets: list[Packet] = []
        end = Fraction(0)
        for packet in self.container.demux(self.stream, *self.copied):
            if packet.is_corrupt:
                raise ImageError("it is damaged or incomplete; copy or repair it")
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream.index == self.stream.index:
                for frame in self.stream.decode(packet):
                    yield packets, frame
                    packets = []
            elif packet.size:
                packets.append(packet)
        self._check_end(end)
        yield packets, None

    def _video_stream(self) -> av.VideoStream:
        for stream in self.container.streams.video:
            if not stream.disposition & Disposition.attached_pic:
                return stream
        raise ImageError("there is no video stream in it; name a video")

    def _check_size(self, max_pixels: int) -> None:
        width, height = self.stream.codec_context.width, self.stream.codec_context.height
        if width * height > max_pixels:
            found = f"{width}x{height} = {width * height}"
            raise ImageError(
                f"expected at most {max_pixels} pixels a frame, found {found}; raise --max-pixels"
            )

    def _check_frame(self, frame: av.VideoFrame, number: int) -> None:
        if frame.is_corrupt:
            raise ImageError(f"frame {number} is damaged; copy or repair the file")
        if (frame.height, frame.width) != self.size:
            height, width = self.size
            raise ImageError(
                f"expected frames of {width}x{height}, found {frame.width}x{frame.height} at frame "
                f"{number}; split it there"
            )

    def _timestamp(self, frame: av.VideoFrame, last: int | None, number: int) -> int:
        step = max(1, round(1 / (self.rate * self.time_base)))
        guess = frame.dts if frame.dts is not None else 0 if last is None else last + step
        pts = frame.pts if frame.pts is not None else guess
        if last is not None and pts <= last:
            raise ImageError(
                f"the time of frame {number} is not after the one before; copy it into a new file "
                "with new timestamps"
            )
        return pts

    def _check_end(self, end: Fraction) -> None:
        stated = Fraction(self.container.duration or 0, av.time_base)
        end -= min(Fraction(0), Fraction(self.container.start_time or 0, av.time_base))
        if end + max(Fraction(_SHORTFALL_S), 2 / self.rate) < stated:
            raise ImageError(
                f"expected {float(stated):.2f} s, found {float(end):.2f}: it is damaged or "
                "incomplete; copy or repair it"
            )

    @contextmanager
    def _image_errors(self) -> Iterator[None]:
        try:
            yield
        except ImageError as error:
            raise ImageError(f"cannot read {self.path}: {error}") from error
        except (av.FFmpegError, OSError) as error:
            reason = error.strerror or "it is damaged"
            raise ImageError(
                f"cannot read {self.path}: {reason}; name a video, or repair it"
            ) from error


def display_matrix(frame: av.VideoFrame) -> list[int] | None:
    """Returns the nine integers by which a player turns or mirrors the picture, or None."""
    data = _side_data(frame).get("DISPLAYMATRIX")
    return None if data is None else [int(n) for n in np.frombuffer(bytes(data), "<i4")]


def losses(source: VideoSource) -> list[str]:
    """Lists what of a source is not kept, or not treated as it should be, each in one line."""
    extra = {
        "A53_CC": "closed captions",
        "MASTERING_DISPLAY_METADATA": "HDR mastering data",
        "DYNAMIC_HDR_PLUS": "HDR10+ data",
        "DOVI_RPU_BUFFER": "Dolby Vision data",
        "SPHERICAL": "the spherical projection",
        "STEREO3D": "the stereo layout",
    }
    found = [text for name, text in extra.items() if name in _side_data(source.first)]
    kept = {source.stream.index, *(stream.index for stream in source.copied)}
    others = {s.type for s in source.container.streams if s.index not in kept}
    found += [f"{kind} streams" for kind in sorted(others)]
    lines = [f"left out {', '.join(found)}"] if found else []
    if source.first.interlaced_frame:
        lines.append("interlaced frames were upscaled as they are; deinterlace first")
    return lines


def _side_data(frame: av.VideoFrame) -> dict[str, Any]:
    items: Any = frame.side_data
    return {item.type.name: item for item in items}
