"""The source of a video gives its frames as RGB, its other streams as packets."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.codec.context import CodecContext
from av.stream import Disposition
from numpy.typing import NDArray

from pcsr.errors import ImageError

from .colour import Colour
from .video_file import open_container
from .video_times import Ends, FrameTimes

if TYPE_CHECKING:
    Packet = av.Packet[Any]
else:
    Packet = av.Packet  # generic in its stubs only

_RECORDED = ("mpegts", "mpeg")  # recordings begin and end anywhere, and have gaps
_COPIED = ("audio", "subtitle")
_MOST_PACKETS = 1000  # in a chunk without a frame
_MOST_THREADS = 4  # each holds a frame
_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders drop it


@dataclass(frozen=True, eq=False)
class Chunk:
    """Packets of other streams, and the frame that follows them."""

    packets: list[Packet]
    pixels: NDArray[Any] | None = None
    """[h, w, 3] RGB or [h, w, 4] RGBA, uint8 or uint16; None where no frame follows."""
    pts: int = 0
    """As `duration` in the video stream's time base."""
    duration: int = 0


class VideoSource(AbstractContextManager["VideoSource"]):
    """A video stream of a file: the default one, or the first. It is a context; another thread may
    use `chunks`.

    Raises:
        ImageError: no such file, no video in it, damaged, or more than `max_pixels` in a frame.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path = path
        self.keeps_alpha = True
        """Whether frames with alpha have four channels; to be set before `chunks`."""
        self.lost_alpha = False
        """Whether a frame so far had transparency that it was not to keep."""
        self._ends = Ends()
        self._lost = 0
        self._first_error: ImageError | None = None
        with self._image_errors(), ExitStack() as opened:
            self.container = open_container(path, opened)
            self.stream = self._video_stream()
            self._check_size(max_pixels)
            self.copied = [s for s in self.container.streams if s.type in _COPIED]
            self._decoder = self._open_decoder(max_pixels)
            step = max(1, round(1 / (self.rate * self.time_base)))
            self._times = FrameTimes(self.container.format.name, self.time_base, step)
            self.first, packets, frames = self._first_frame()
            self.colour = Colour.of(self.first)
            self._frames_left = chain([(packets, self.first)], frames)
            self._opened = opened.pop_all()

    def __exit__(self, *_: object) -> None:
        self._opened.close()

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

    @property
    def warnings(self) -> list[str]:
        """What was found to be odd so far, each in one line."""
        lost = f"{self._lost} of the packets damaged: frames are missing or show it"
        return (
            [lost] * bool(self._lost) + self._times.rising.warnings("frames") + self._ends.warnings
        )

    def chunks(self) -> Iterator[Chunk]:
        """Yields all frames in order, once.

        Raises:
            ImageError: the file is damaged, or ends earlier than it says.
        """
        number = 0
        with self._image_errors():
            for packets, frame in self._frames_left:
                if frame is None:
                    yield Chunk(packets)
                    continue
                number += 1
                self._check_frame(frame, number)
                yield Chunk(packets, self._pixels(frame), self._times.of(frame), frame.duration)

    def _pixels(self, frame: av.VideoFrame) -> NDArray[Any]:
        pixels = self.colour.to_rgb(frame)
        if self.keeps_alpha or not self.colour.alpha:
            return pixels
        self.lost_alpha |= not self.colour.is_opaque(pixels)
        return np.ascontiguousarray(pixels[..., :3])

    def _first_frame(self) -> tuple[av.VideoFrame, list[Packet], Iterator[Any]]:
        packets: list[Packet] = []
        frames = self._frames()
        for some, frame in frames:
            packets += some
            if frame is not None:
                return frame, packets, frames
        raise self._first_error or ImageError("there is no frame in it; name another file")

    def _frames(self) -> Iterator[tuple[list[Packet], av.VideoFrame | None]]:
        packets: list[Packet] = []
        copied = {stream.index for stream in self.copied}
        for packet in self.container.demux():
            index = packet.stream.index
            self._ends.saw(packet)
            if packet.is_corrupt and index in (self.stream.index, *copied):
                self._damaged(ImageError("it is damaged or incomplete; copy or repair it"))
            if index == self.stream.index:
                for frame in self._decoded(packet):
                    yield packets, frame
                    packets = []
            elif packet.size and index in copied:
                packets.append(packet)
                if len(packets) == _MOST_PACKETS:
                    yield packets, None
                    packets = []
        self._ends.check(self.container, 2 / self.rate)
        yield packets, None

    def _decoded(self, packet: Packet) -> list[av.VideoFrame]:
        self._times.sent(packet)
        try:
            frames: list[av.VideoFrame] = self._decoder.decode(packet)
        except av.InvalidDataError as error:
            time = packet.dts if packet.pts is None else packet.pts
            where = "" if time is None else f" at {float(time * packet.time_base):.2f} s"
            damage = ImageError(f"it is damaged{where}; copy or repair it")
            damage.__cause__ = error
            self._damaged(damage)
            return []
        return frames

    def _damaged(self, error: ImageError) -> None:
        """Raises `error`, but counts it where files are cut or received with gaps."""
        if self.container.format.name not in _RECORDED:
            raise error
        self._first_error = self._first_error or error
        self._lost += 1

    def _video_stream(self) -> av.VideoStream:
        videos = [s for s in self.container.streams.video if not s.disposition & _PICTURES]
        if not videos:
            raise ImageError("there is no video stream in it; name a video")
        default = [s for s in videos if s.disposition & Disposition.default]
        stream = (default or videos)[0]
        if stream.codec_context is None:
            raise ImageError("its codec is not known; convert it to .mkv first")
        return stream

    def _open_decoder(self, max_pixels: int) -> Any:  # noqa: ANN401
        decoder: Any = self.stream.codec_context
        name = _WITH_ALPHA.get(decoder.codec.canonical_name)
        if name and self.stream.metadata.get("alpha_mode") == "1":
            with_alpha: Any = CodecContext.create(name, "r")
            with_alpha.extradata = decoder.extradata
            for says in ("color_range", "colorspace", "color_primaries", "color_trc"):
                setattr(with_alpha, says, getattr(decoder, says))
            decoder = with_alpha
        decoder.options = {"max_pixels": str(max_pixels)}
        decoder.thread_type, decoder.thread_count = "AUTO", min(_MOST_THREADS, os.cpu_count() or 1)
        return decoder

    def _check_size(self, max_pixels: int) -> None:
        width, height = self.stream.codec_context.width, self.stream.codec_context.height
        if width * height > max_pixels:
            found = f"{width}x{height} = {width * height}"
            raise ImageError(
                f"expected at most {max_pixels} pixels a frame, found {found}; raise --max-pixels"
            )

    def _check_frame(self, frame: av.VideoFrame, number: int) -> None:
        if frame.is_corrupt and self.container.format.name not in _RECORDED:
            raise ImageError(f"frame {number} is damaged; copy or repair the file")
        if (frame.height, frame.width) != self.size:
            height, width = self.size
            raise ImageError(
                f"expected frames of {width}x{height}, found {frame.width}x{frame.height} at frame "
                f"{number}; split it there"
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
        "CONTENT_LIGHT_LEVEL": "HDR light levels",
        "DYNAMIC_HDR_PLUS": "HDR10+ data",
        "DYNAMIC_HDR_VIVID": "HDR Vivid data",
        "DOVI_METADATA": "Dolby Vision data",
        "DOVI_RPU_BUFFER": "Dolby Vision data",
        "AMBIENT_VIEWING_ENVIRONMENT": "the ambient light",
        "ICC_PROFILE": "the ICC profile",
        "SPHERICAL": "the spherical projection",
        "STEREO3D": "the stereo layout",
    }
    found = [text for name, text in extra.items() if name in _side_data(source.first)]
    kept = {source.stream.index, *(stream.index for stream in source.copied)}
    found += sorted({_kind(s) for s in source.container.streams if s.index not in kept})
    lines = [f"left out {', '.join(dict.fromkeys(found))}"] if found else []
    if source.first.interlaced_frame:
        lines.append("interlaced frames were upscaled as they are; deinterlace first")
    return lines


def _kind(stream: av.stream.Stream) -> str:
    if stream.type != "video":
        return f"{stream.type} streams"
    return "cover pictures" if stream.disposition & _PICTURES else "its other video streams"


def _side_data(frame: av.VideoFrame) -> dict[str, Any]:
    items: Any = frame.side_data
    return {item.type.name: item for item in items}
