"""The sound and the subtitles of a video are copied, packet by packet."""

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.stream import Stream

from pcsr.errors import OutputError

from .video_source import Packet, VideoSource
from .video_times import Rising

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
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


class Copies:
    """Copies the other streams of `source` into a container; `shown` is its file's name.

    Raises:
        OutputError: the container does not hold the codec of a sound. Subtitles are left out.
    """

    def __init__(self, source: VideoSource, container: OutputContainer, shown: Path) -> None:
        self._container = container
        self._left_out: list[str] = []
        self._copies = dict(self._added(source, shown))

    def write(self, packets: list[Packet]) -> None:
        """Writes packets of the source."""
        for packet in packets:
            if packet.stream.index in self._copies:
                copy, times = self._copies[packet.stream.index]
                _raise_times(packet, times)
                packet.stream = copy
                self._container.mux(packet)

    @property
    def warnings(self) -> list[str]:
        """What was left out or changed so far, each in one line."""
        changed = [
            line for copy, times in self._copies.values() for line in times.warnings(copy.type)
        ]
        return self._left_out + list(dict.fromkeys(changed))

    def _added(self, source: VideoSource, shown: Path) -> Iterator[tuple[int, tuple[Any, Rising]]]:
        for stream in source.copied:
            if not _holds(CONTAINERS[shown.suffix.lower()], stream):
                self._leave_out(stream, shown)
                continue
            copy: Any = self._container.add_stream_from_template(stream)
            copy.metadata.update(kept_tags(stream.metadata))
            copy.disposition = stream.disposition
            yield stream.index, (copy, Rising(stream.time_base or source.time_base))

    def _leave_out(self, stream: Stream, shown: Path) -> None:
        codec = _codec_name(stream)
        if stream.type != "audio":
            self._left_out.append(f"left out the {codec} subtitles, which it does not hold")
            return
        others = [suffix for suffix, name in CONTAINERS.items() if _holds(name, stream)]
        advice = f"write {' or '.join(others)}" if others else "convert its sound first"
        raise OutputError(f"cannot write {shown}: {shown.suffix} holds no {codec}; {advice}")


def kept_tags(tags: dict[str, str]) -> dict[str, str]:
    """Returns the tags of a file or a stream that are true of its copy."""
    return {key: text for key, text in tags.items() if not key.lower().startswith(_OWN_TAGS)}


def _holds(container: str, stream: Stream) -> bool:
    """Tests whether a container takes a stream, by beginning one: what its muxer lists is not all
    that it takes, nor does it take all of that.
    """
    trial = av.open(io.BytesIO(), "w", format=container)
    try:
        trial.add_stream_from_template(stream)
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


def _raise_times(packet: Packet, times: Rising) -> None:
    """Moves the times of a packet where its stream's go back."""
    own = packet.dts if packet.dts is not None else packet.pts
    moved = times.next(own, packet.duration or 1)
    shift = moved - (own or 0)
    packet.pts = moved if packet.pts is None else packet.pts + shift
    packet.dts = moved
