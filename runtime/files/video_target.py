"""The target of a video encodes frames, and copies the source's other streams."""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import av
from av.codec.codec import Codec, UnknownCodecError
from av.codec.context import Flags
from numpy.typing import NDArray

from pcsr.errors import BackendError, OutputError

from .video_source import Chunk, VideoSource, display_matrix, losses

_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_DEFAULT_CODECS = {".webm": "libvpx-vp9"}
_DEFAULT_CODEC = "libx264"
_DEFAULT_CRF = {"libx264": 17, "libx265": 19, "libvpx-vp9": 24, "libsvtav1": 24, "libaom-av1": 24}
_SAMPLING = (("420", 2, 2), ("422", 1, 2), ("444", 1, 1))  # and what (height, width) are multiples
_DEPTHS = (8, 10, 12, 16)
_OWN_TAGS = (  # what the tags that describe the old file start with
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "duration",
    "bps",
    "number_of_",
    "_statistics",
)


class VideoTarget(AbstractContextManager["VideoTarget"]):
    """Writes the frames of `source`, upscaled to `size` (height, width), to `path`.

    `shown` is its final name, for messages. It is a context that finishes the file, or on an
    exception leaves it as it is. `warnings` say what the file cannot hold.

    Raises:
        BackendError: this PyAV has no such encoder.
        OutputError: the container holds no such codec; the encoder refuses the size or a setting.
    """

    def __init__(
        self,
        path: Path,
        shown: Path,
        source: VideoSource,
        size: tuple[int, int],
        codec: str | None,
        crf: float | None,
    ) -> None:
        self._shown, self._source = shown, source
        self.warnings = losses(source)
        encoder = find_encoder(shown, codec)
        self._pix_fmt = self._choose_format(encoder, size)
        self._colour = source.colour.for_yuv(size[0])
        with self._output_errors(), ExitStack() as opened:
            self._container = av.open(str(path), "w", format=_CONTAINERS[shown.suffix.lower()])
            opened.callback(self._abandon)
            self._stream = self._add_video(encoder, size, crf)
            self._copies = dict(self._add_copies())
            self._container.metadata.update(_kept_tags(source.container.metadata))
            self._container.set_chapters(source.container.chapters())
            self._container.start_encoding()
            opened.pop_all()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._output_errors(), ExitStack() as unfinished:
            unfinished.callback(self._abandon)
            if kind is None:
                self._container.mux(self._stream.encode())
                self._container.close()
                unfinished.pop_all()

    def write(self, chunk: Chunk, pixels: NDArray[Any] | None) -> None:
        """Writes the packets of a chunk, then `pixels` [H, W, 3], where it has a frame."""
        with self._output_errors():
            for packet in chunk.packets:
                copy = self._copies.get(packet.stream.index)
                if copy is not None:
                    packet.stream = copy
                    self._container.mux(packet)
            if pixels is not None:
                frame = self._colour.from_rgb(pixels, self._pix_fmt)
                frame.pts, frame.duration = chunk.pts, chunk.duration
                frame.time_base = self._source.time_base
                self._container.mux(self._stream.encode(frame))

    def _choose_format(self, encoder: Codec, size: tuple[int, int]) -> str:
        known = {form.name for form in encoder.video_formats or []}
        wanted = self._source.colour.depth
        depths = sorted(_DEPTHS, key=lambda depth: (depth < wanted, abs(depth - wanted)))
        for depth in depths:
            for sampling, rows, columns in _SAMPLING:
                name = f"yuv{sampling}p" + ("" if depth == 8 else f"{depth}le")
                if name in known and not size[0] % rows and not size[1] % columns:
                    if depth < wanted:
                        self.warnings.append(
                            f"{encoder.name} writes {depth} bits a sample of {wanted}; another "
                            "--codec may keep them"
                        )
                    return name
        raise OutputError(
            f"cannot write {self._shown}: {encoder.name} takes no {size[1]}x{size[0]} frames; "
            "choose a --scale that makes even numbers, or another --codec"
        )

    def _add_video(
        self, encoder: Codec, size: tuple[int, int], crf: float | None
    ) -> av.VideoStream:
        source, colour = self._source, self._colour
        with self._refusals(encoder.name):
            stream: Any = self._container.add_stream(encoder.name, rate=source.rate)
        context = stream.codec_context
        context.height, context.width = size
        context.pix_fmt = self._pix_fmt
        context.time_base = source.time_base
        context.flags |= Flags.frame_duration
        context.color_range, context.colorspace = colour.range_, colour.matrix
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        if source.stream.sample_aspect_ratio:
            context.sample_aspect_ratio = source.stream.sample_aspect_ratio
        stream.options = self._options(context, encoder.name, crf)
        matrix = display_matrix(source.first)
        if matrix:
            stream.set_display_matrix(matrix)
        stream.metadata.update(_kept_tags(source.stream.metadata))
        return stream  # type: ignore[no-any-return]

    def _options(self, context: Any, encoder: str, crf: float | None) -> dict[str, str]:  # noqa: ANN401
        if "crf" in {option.name for option in context.supported_options.private}:
            crf = _DEFAULT_CRF.get(encoder) if crf is None else crf
            return {} if crf is None else {"crf": f"{crf:g}"}
        if crf is not None:
            raise OutputError(f"cannot write {self._shown}: {encoder} has no --crf; leave it out")
        return {}

    def _add_copies(self) -> Iterator[tuple[int, Any]]:
        for stream in self._source.copied:
            codec = stream.codec_context.codec.canonical_name
            try:
                with self._refusals(codec):
                    copy = self._container.add_stream_from_template(stream)
            except OutputError:
                if stream.type == "audio":
                    raise
                self.warnings.append(f"left out the {codec} subtitles, which it does not hold")
                continue
            copy.metadata.update(_kept_tags(stream.metadata))
            copy.disposition = stream.disposition
            yield stream.index, copy

    @contextmanager
    def _refusals(self, codec: str) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            if isinstance(error, av.FFmpegError):
                raise
            others = " or ".join(_containers_of(codec)) or "another container"
            raise OutputError(
                f"cannot write {self._shown}: {self._shown.suffix} holds no {codec}; write {others}"
            ) from error

    def _abandon(self) -> None:
        with suppress(Exception):
            self._container.close()

    @contextmanager
    def _output_errors(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise OutputError(
                f"cannot write {self._shown}: {error.strerror}; disk full, or not for this --codec?"
            ) from error


def find_encoder(path: Path, name: str | None) -> Codec:
    """Returns the encoder of this name, or the usual one of the container.

    Raises:
        BackendError: this PyAV has none of that name.
    """
    name = name or _DEFAULT_CODECS.get(path.suffix.lower(), _DEFAULT_CODEC)
    try:
        codec = Codec(name, "w")
    except UnknownCodecError as error:
        raise BackendError(
            f"the installed PyAV has no encoder {name!r}; choose another --codec (libx264, ...)"
        ) from error
    if codec.type != "video":
        raise BackendError(f"--codec {name} encodes {codec.type}, expected one for video (libx264)")
    return codec


def _containers_of(codec: str) -> list[str]:
    """Lists the suffixes of the containers that hold a codec."""
    found = []
    for suffix, name in _CONTAINERS.items():
        with suppress(av.FFmpegError):
            known = av.open(io.BytesIO(), "w", format=name).supported_codecs
            if codec in known or codec in {_canonical(other) for other in known}:
                found.append(suffix)
    return found


def _canonical(name: str) -> str:
    try:
        return Codec(name, "w").canonical_name
    except ValueError:
        return name


def _kept_tags(tags: dict[str, str]) -> dict[str, str]:
    return {key: text for key, text in tags.items() if not key.lower().startswith(_OWN_TAGS)}
