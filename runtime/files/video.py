"""Videos go through an upscaler frame by frame, with PyAV; sound and timing stay."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pcsr.atomic import atomic_file
from pcsr.extras import needs_extra
from pcsr.runtime.result import Result, Stats, heavy_share

from .overlap import read_ahead, write_behind

if TYPE_CHECKING:
    from .video_source import Chunk, VideoSource

WRITTEN = (".mp4", ".mkv", ".mov", ".webm")
"""Suffixes of the containers that are written."""
READ = (
    *(*WRITTEN, ".avi", ".m4v", ".3gp", ".3g2", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob"),
    *(".flv", ".wmv", ".asf", ".ogv"),
)
"""Suffixes of what is read as a video. Its content says which container it is."""

Bar = Callable[[Iterable[Any], str, int | None], AbstractContextManager[Iterable[Any]]]
"""Makes a context of the same items that shows how far they are, of (items, label, count)."""


def no_bar(items: Iterable[Any], *_: object) -> AbstractContextManager[Iterable[Any]]:
    """Shows nothing, as a `Bar`."""
    return nullcontext(items)


@dataclass(frozen=True)
class Encoding:
    """Describes how a video is written."""

    codec: str | None = None
    """None takes the container's usual one."""
    crf: float | None = None
    """Constant rate factor: smaller is better and larger. None takes the codec's usual one."""
    overwrite: bool = False


@dataclass(frozen=True)
class VideoStats:
    """Figures of one video. Sizes are (height, width)."""

    lr_size: tuple[int, int]
    hr_size: tuple[int, int]
    pixels_per_upsampler: tuple[int, ...]
    """Of all frames together, heaviest first."""
    frames: int
    reused_share: float
    """Share in [0, 1] of the pixels that were taken from the frame before, over all frames."""
    frame_ms: float
    """Mean wall time of the computation of a frame."""
    fps: float
    """Frames per second, reading and writing included."""
    warnings: tuple[str, ...]
    """What the source has and the result has not, each in one line."""

    @property
    def heavy_share(self) -> float:
        """Share in [0, 1] of the heavy pixels, over all frames."""
        return heavy_share(self.pixels_per_upsampler)


def is_video(path: Path) -> bool:
    """Tests whether a path has the suffix of a video."""
    return path.suffix.lower() in READ


def check_encoder(target: Path, codec: str | None) -> None:
    """Raises BackendError where PyAV or the encoder for `target` is not installed."""
    with needs_extra("upscaling a video", "video"):
        from .video_encoder import find_encoder
    find_encoder(target, codec)


def open_video(path: Path, max_pixels: int) -> "VideoSource":
    """Opens a video, which is a context.

    Raises:
        ImageError: `path` holds no video, or too large frames.
        BackendError: PyAV is not installed.
    """
    with needs_extra("upscaling a video", "video"):
        from .video_source import VideoSource
    return VideoSource(path, max_pixels)


def upscale_video(
    source: "VideoSource",
    target: Path,
    hr_size: tuple[int, int],
    upscale: Callable[[NDArray[Any]], Result],
    encoding: Encoding,
    bar: Bar = no_bar,
) -> VideoStats:
    """Upscales every frame of `source`; a frame is decoded and one encoded meanwhile. `bar` shows
    the progress over the frames.

    Timestamps are kept in the source's time base, sound and subtitles are copied, colours are
    written as the source states them.

    Raises:
        ImageError: the source is damaged or incomplete.
        OutputError: `target` cannot be written, or cannot hold the codec of a stream.
    """
    from .video_target import VideoTarget

    start, stats = perf_counter(), list[Stats]()
    with (
        atomic_file(target, encoding.overwrite) as file,
        VideoTarget(file, target, source, hr_size, encoding.codec, encoding.crf) as video,
        closing(read_ahead(source.chunks())) as chunks,
        closing(
            write_behind(_computed(chunks, upscale, stats), lambda step: video.write(*step))
        ) as written,
        bar(written, source.path.name, source.stream.frames or None) as steps,
    ):
        for _ in steps:
            pass
    counts = [sum(pixels) for pixels in zip(*(s.pixels_per_upsampler for s in stats), strict=True)]
    return VideoStats(
        source.size,
        hr_size,
        tuple(counts),
        len(stats),
        sum(s.reused_share for s in stats) / len(stats),
        sum(s.total_ms for s in stats) / len(stats),
        len(stats) / (perf_counter() - start),
        tuple(video.warnings),
    )


def _computed(
    chunks: Iterator["Chunk"], upscale: Callable[[NDArray[Any]], Result], stats: list[Stats]
) -> Iterator[tuple["Chunk", NDArray[Any] | None]]:
    for chunk in chunks:
        if chunk.pixels is None:
            yield chunk, None
        else:
            result = upscale(chunk.pixels)
            stats.append(result.stats)
            yield chunk, result.image
