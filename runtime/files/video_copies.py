"""The sound and the subtitles of a video are copied, packet by packet, where that can be."""

import io
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
from av.container import OutputContainer
from av.stream import Stream

from pcsr.errors import OutputError

from .video_source import Packet, VideoSource
from .video_times import Rising

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_SOUND_CODECS = {".webm": "libopus"}  # of sound that no container holds; else AAC
_LAYOUTS = {1: "mono", 2: "stereo"}  # where a file gives no more than their number
_LEAST_S = Fraction(1, 1000)
_GAP_S = Fraction(1, 10)
_OWN_TAGS = (  # what the tags that describe the old file start with
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "duration",
    "bps",
    "number_of_",
    "_statistics",
    "alpha_mode",
)


class _Writer(Protocol):
    def write(self, packet: Packet) -> None: ...

    def finish(self) -> None: ...

    @property
    def warnings(self) -> list[str]: ...


class Copies:
    """Copies the other streams of `source` into a container; `shown` is its file's name.

    Subtitles that it does not hold are left out; sound that no container holds is encoded anew.

    Raises:
        OutputError: the container does not hold the codec of a sound, and another does.
    """

    def __init__(self, source: VideoSource, container: OutputContainer, shown: Path) -> None:
        self._container, self._suffix = container, shown.suffix.lower()
        self._left_out: list[str] = []
        writers = {s.index: self._writer(s, shown) for s in source.copied}
        self._writers = {index: writer for index, writer in writers.items() if writer}

    def write(self, packets: list[Packet]) -> None:
        """Writes packets of the source."""
        for packet in packets:
            writer = self._writers.get(packet.stream.index)
            if writer:
                writer.write(packet)

    def finish(self) -> None:
        """Writes what is left behind the last packet."""
        for writer in self._writers.values():
            writer.finish()

    @property
    def warnings(self) -> list[str]:
        """What was left out or changed so far, each in one line."""
        changed = [line for writer in self._writers.values() for line in writer.warnings]
        return self._left_out + list(dict.fromkeys(changed))

    def _writer(self, stream: Stream, shown: Path) -> _Writer | None:
        if _holds(CONTAINERS[self._suffix], stream):
            return _Copied(self._container, stream)
        codec = _codec_name(stream)
        if stream.type != "audio":
            self._left_out.append(f"left out the {codec} subtitles, which it does not hold")
            return None
        others = [suffix for suffix, name in CONTAINERS.items() if _holds(name, stream)]
        if not others and stream.codec_context is not None:
            with suppress(ValueError, av.FFmpegError):
                return _Encoded(self._container, stream, _SOUND_CODECS.get(self._suffix, "aac"))
        advice = f"write {' or '.join(others)}" if others else "convert its sound first"
        raise OutputError(f"cannot write {shown}: {shown.suffix} holds no {codec}; {advice}")


class _Copied:
    def __init__(self, container: OutputContainer, stream: Stream) -> None:
        self._container = container
        self._copy: Any = container.add_stream_from_template(stream)
        self._times = Rising(stream.time_base or _LEAST_S)
        self._written = self._damaged = 0
        self._error: av.FFmpegError | None = None
        _describe(self._copy, stream)

    def write(self, packet: Packet) -> None:
        """Writes a packet of the source; its times are moved where the stream's go back."""
        own = packet.dts if packet.dts is not None else packet.pts
        moved = self._times.next(own, packet.duration or 1)
        packet.pts = moved if packet.pts is None else packet.pts + moved - (own or 0)
        packet.dts = moved
        packet.stream = self._copy
        try:
            self._container.mux(packet)
            self._written += 1
        except av.InvalidDataError as error:
            self._damaged, self._error = self._damaged + 1, error

    def finish(self) -> None:
        """Raises the error of a packet if there was none without; all else is written."""
        if self._error and not self._written:
            raise self._error

    @property
    def warnings(self) -> list[str]:
        return _damaged(self._damaged, self._copy) + self._times.warnings(
            f"{self._copy.type} packets"
        )


class _Encoded:
    def __init__(self, container: OutputContainer, stream: Stream, codec: str) -> None:
        self._container = container
        self._decoder: Any = stream.codec_context
        self._damaged = 0
        self._end: Any = None  # of the last frame, in seconds
        own: Any = self._decoder
        rate = 48_000 if codec == "libopus" else own.sample_rate
        self._stream: Any = container.add_stream(codec, rate=rate)
        layout = own.layout
        context: Any = self._stream.codec_context
        context.layout = _LAYOUTS.get(layout.nb_channels, layout.name)
        self._change = f"encoded its {_codec_name(stream)} sound anew, as {codec}"
        _describe(self._stream, stream)
        context.open()

    def write(self, packet: Packet | None) -> None:
        """Decodes a packet of the source, and encodes what comes out."""
        try:
            frames = self._decoder.decode(packet)
        except av.InvalidDataError:
            self._damaged += 1
            return
        for frame in frames:
            self._continue(frame)
            self._container.mux(self._stream.encode(frame))

    def _continue(self, frame: Any) -> None:  # noqa: ANN401
        """Sets the time of a frame to the end of the one before, unless there is a gap."""
        time = self._end if frame.pts is None else frame.pts * frame.time_base
        if self._end is None or time > self._end + _GAP_S:
            self._end = time or Fraction(0)
        frame.time_base = Fraction(1, frame.sample_rate)
        frame.pts = round(self._end * frame.sample_rate)
        self._end += Fraction(frame.samples, frame.sample_rate)

    def finish(self) -> None:
        """Decodes and encodes what is left."""
        self.write(None)
        self._container.mux(self._stream.encode())

    @property
    def warnings(self) -> list[str]:
        return [self._change, *_damaged(self._damaged, self._stream)]


def kept_tags(tags: dict[str, str]) -> dict[str, str]:
    """Returns the tags of a file or a stream that are true of its copy."""
    return {key: text for key, text in tags.items() if not key.lower().startswith(_OWN_TAGS)}


def _holds(container: str, stream: Stream) -> bool:
    """Tests whether a container takes a copy of a stream."""
    return can_begin(container, lambda trial: trial.add_stream_from_template(stream))


def can_begin(container: str, add: Callable[[OutputContainer], object]) -> bool:
    """Tests whether a container takes what `add` puts into it, by beginning one: what its muxer
    lists is not all that it takes, nor does it take all of that.
    """
    trial = av.open(io.BytesIO(), "w", format=container)
    try:
        add(trial)
        trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    finally:
        with suppress(Exception):
            trial.close()
    return True


def _codec_name(stream: Stream) -> str:
    context = stream.codec_context
    return "unknown" if context is None else context.codec.canonical_name


def _damaged(count: int, stream: Any) -> list[str]:  # noqa: ANN401
    return [f"left out {count} of the {stream.type} packets, which are damaged"] if count else []


def _describe(stream: Any, like: Stream) -> None:  # noqa: ANN401
    stream.metadata.update(kept_tags(like.metadata))
    stream.disposition = like.disposition
