"""The target of a video encodes frames, and copies the source's other streams."""

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import av
from av.codec.codec import Codec
from av.codec.context import Flags
from av.container import OutputContainer
from numpy.typing import NDArray

from pcsr.errors import OutputError

from .video_copies import CONTAINERS, Copies, can_begin, kept_tags
from .video_encoder import (
    Pixels,
    choose_pixels,
    encoder_options,
    find_encoder,
    holds_alpha,
    open_encoder,
)
from .video_source import Chunk, VideoSource, display_matrix, losses


class VideoTarget(AbstractContextManager["VideoTarget"]):
    """Writes the frames of `source`, upscaled to `size` (height, width), to `path`.

    `shown` is its final name, for messages. It is a context that finishes the file, or on an
    exception leaves it as it is.

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
        self._encoder = encoder = find_encoder(shown, codec)
        self._losses = losses(source)
        self._pixels = self._choose_pixels(encoder, size)
        source.keeps_alpha = self._pixels.alpha
        self._colour = source.colour.for_writing(self._pixels.name, source.size[0], size[0])
        with self._output_errors(), ExitStack() as opened:
            self._file = opened.enter_context(path.open("wb"))
            self._container = av.open(self._file, "w", format=CONTAINERS[shown.suffix.lower()])
            opened.callback(self._abandon)
            self._stream = self._add_video(encoder, size, crf)
            self._copies = Copies(source, self._container, shown)
            self._container.metadata.update(kept_tags(source.container.metadata))
            self._container.set_chapters(source.container.chapters())
            self._begin(encoder)
            self._opened = opened.pop_all()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._output_errors(), self._opened as unfinished:
            if kind is None:
                self._container.mux(self._stream.encode())
                self._copies.finish()
                self._container.close()
                unfinished.pop_all()
                self._file.close()

    @property
    def warnings(self) -> list[str]:
        """What the file does not hold of the source, and what was odd so far, each in one line."""
        lost = [
            f"left out its transparency, which {self._encoder.name} does not hold in "
            f"{self._shown.suffix}; .webm, or --codec prores_ks to .mov or ffv1 to .mkv keep it"
        ] * self._source.lost_alpha
        return self._losses + lost + self._copies.warnings + self._source.warnings

    def write(self, chunk: Chunk, pixels: NDArray[Any] | None) -> None:
        """Writes the packets of a chunk, then `pixels` [H, W, channels], where it has a frame."""
        with self._output_errors():
            self._copies.write(chunk.packets)
            if pixels is not None:
                frame = self._colour.from_rgb(pixels, self._pixels.name)
                frame.pts, frame.duration = chunk.pts, chunk.duration
                frame.time_base = self._source.time_base
                self._container.mux(self._stream.encode(frame))

    def _choose_pixels(self, encoder: Codec, size: tuple[int, int]) -> Pixels:
        wanted = self._source.colour.depth
        alpha = self._source.colour.alpha and holds_alpha(encoder, self._shown)
        pixels = choose_pixels(encoder, size, wanted, alpha)
        if pixels is None:
            advice = "choose a --scale that makes even numbers, or another --codec"
            if choose_pixels(encoder, (4, 4), wanted, False) is None:
                advice = "choose another --codec"
            raise OutputError(
                f"cannot write {self._shown}: {encoder.name} takes no {size[1]}x{size[0]} frames; "
                f"{advice}"
            )
        if pixels.depth < wanted:
            self._losses.append(
                f"{encoder.name} writes {pixels.depth} bits a sample of {wanted}; another --codec "
                "may keep them"
            )
        return pixels

    def _add_video(
        self, encoder: Codec, size: tuple[int, int], crf: float | None
    ) -> av.VideoStream:
        source, colour = self._source, self._colour
        try:
            stream: Any = self._container.add_stream(encoder.name, rate=source.rate)
        except ValueError as error:
            raise self._not_held(encoder) from error
        context = stream.codec_context
        context.height, context.width = size
        context.pix_fmt = self._pixels.name
        context.time_base = source.time_base
        context.flags |= Flags.frame_duration
        context.color_range, context.colorspace = colour.range_, colour.matrix
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        if source.stream.sample_aspect_ratio:
            context.sample_aspect_ratio = source.stream.sample_aspect_ratio
        context.options = encoder_options(context, encoder.name, crf, self._shown)
        matrix = display_matrix(source.first)
        if matrix:
            stream.set_display_matrix(matrix)
        stream.metadata.update(kept_tags(source.stream.metadata))
        open_encoder(context, encoder, self._shown)
        return stream  # type: ignore[no-any-return]

    def _begin(self, encoder: Codec) -> None:
        try:
            self._container.start_encoding()
        except (av.ArgumentError, av.ExperimentalError) as error:
            raise self._not_held(encoder) from error

    def _not_held(self, encoder: Codec) -> OutputError:
        own = self._shown.suffix.lower()
        others = [suffix for suffix in CONTAINERS if suffix != own and self._holds(suffix, encoder)]
        advice = f"write {' or '.join(others)}" if others else "choose another --codec"
        return OutputError(f"cannot write {self._shown}: {own} holds no {encoder.name}; {advice}")

    def _holds(self, suffix: str, encoder: Codec) -> bool:
        """Tests whether a container takes what an encoder makes."""

        def add(trial: OutputContainer) -> None:
            context: Any = trial.add_stream(encoder.name, rate=25).codec_context
            context.height, context.width = 64, 64
            context.pix_fmt = self._pixels.name
            context.options = encoder_options(context, encoder.name, None, self._shown)

        return can_begin(CONTAINERS[suffix], add)

    def _abandon(self) -> None:
        with suppress(Exception):
            self._container.close()

    @contextmanager
    def _output_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno == errno.ENOSPC:
                reason = "the disk is full; make room"
            raise OutputError(f"cannot write {self._shown}: {reason}") from error
        except av.FFmpegError as error:
            raise OutputError(
                f"cannot write {self._shown}: FFmpeg failed ({error.strerror}); try another "
                "--codec, or .mkv"
            ) from error
