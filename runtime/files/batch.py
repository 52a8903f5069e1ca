"""A batch of files is upscaled: what pcsr-upscale does for each image or video."""

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pcsr import images
from pcsr.atomic import make_folder, refuse_existing
from pcsr.errors import ImageError, OutputError, PcsrError, UsageError
from pcsr.overlay import draw_overlay
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.result import Result, Stats
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.upscaler import Upscaler
from pcsr.text import one_line

from . import MAX_PIXELS
from .jobs import Job
from .overlap import read_ahead, write_behind
from .video import (
    Bar,
    Encoding,
    VideoStats,
    check_encoder,
    is_video,
    no_bar,
    open_video,
    upscale_video,
)

LARGEST_GROWTH = 16  # output pixels per allowed input pixel
STREAMED_PIXELS = 2**26  # of outputs that leave while they are computed, never whole in memory


@dataclass(frozen=True)
class UpscaleOptions(Encoding):
    """Describes how images and videos are upscaled (see `Upscaler.run`) and written."""

    scale: float | None = None
    request: RoutingRequest = field(default_factory=RoutingRequest)
    quality: int = 95
    """Quality of JPEG and WebP, 1 to 100."""
    max_pixels: int = MAX_PIXELS
    """Limit of an input image or frame; an output may have 16 times as many."""
    accept_damaged: bool = False
    """Take what can be decoded of a damaged image."""


@dataclass(frozen=True)
class Done:
    """A finished job."""

    job: Job
    stats: Stats | VideoStats | None
    """Its figures; None if it failed."""
    error: PcsrError | None
    image_warnings: tuple[str, ...] = ()
    """What was left out of an image, or out of its file."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines that say what the result lacks."""
        stats = self.stats
        return stats.warnings if isinstance(stats, VideoStats) else self.image_warnings

    def to_json(self) -> dict[str, Any]:
        """Makes a record of it that is valid JSON."""
        record: dict[str, Any] = {"input": str(self.job.source), "output": str(self.job.target)}
        if self.stats is None:
            return record | {"error": str(self.error)}
        stats = asdict(self.stats)
        if not math.isfinite(stats.get("threshold") or 0):
            stats["threshold"] = None
        overlay = {"overlay": str(self.job.overlay)} if self.job.overlay else {}
        return record | overlay | stats | {"heavy_share": self.stats.heavy_share}

    def summary(self) -> str:
        """Describes the image or video in one line, for a terminal."""
        stats = self.stats
        if stats is None:
            return one_line(f"{self.job.source}: {self.error}")
        height, width = stats.hr_size
        heavy = f", {stats.heavy_share:.1%} heavy" if len(stats.pixels_per_upsampler) > 1 else ""
        if isinstance(stats, VideoStats):
            time = f"{stats.frames} frames, {stats.frame_ms:.0f} ms each"
        else:
            time = f"{stats.total_ms:.0f} ms"
        return one_line(f"{self.job.target}: {width}x{height}{heavy}, {time}")


def upscale_files(
    upscaler: Upscaler, jobs: Sequence[Job], options: UpscaleOptions, bar: Bar = no_bar
) -> Generator[Done]:
    """Upscales one file after another. A file that fails is reported and the others go on.

    The next image is read and the one before is written while one is computed; a job is done, and
    yielded in order, once it is written. `bar` shows the progress over the frames of a video.

    Raises:
        UsageError: an option is out of range or does not fit the bundle.
        BackendError: PyAV or the encoder of a video is not installed.
    """
    if upscaler.bundle.upsamplers < 2 and any(job.overlay for job in jobs):
        raise UsageError(
            f"{upscaler.bundle.path} has no routing to draw an overlay of; use a bundle with two "
            "or more upsamplers"
        )
    upscaler.completed(options.scale, options.request)
    for job in jobs:
        if is_video(job.source):
            check_encoder(job.target, options.codec)
    stages = _Stages(upscaler, options, bar)
    with (
        closing(read_ahead(map(_guarded(stages.read), ((job, None) for job in jobs)))) as read,
        closing(
            write_behind(map(_guarded(stages.compute), read), _guarded(stages.write), len(jobs))
        ) as written,
    ):
        for job, found in written:
            failed = isinstance(found, PcsrError)
            warnings = stages.warnings.pop(job, ())
            yield Done(job, None if failed else found, found if failed else None, warnings)


def _guarded(work: Callable[[Job, Any], Any]) -> Callable[[tuple[Job, Any]], tuple[Job, Any]]:
    """Makes `work` a stage over (job, what the stage before made of it or its error)."""

    def guarded(step: tuple[Job, Any]) -> tuple[Job, Any]:
        job, found = step
        if isinstance(found, PcsrError):
            return step
        try:
            return job, work(job, found)
        except (ImageError, OutputError) as error:
            return job, error
        except MemoryError:
            return job, ImageError(f"out of memory for {job.source}; use a smaller scale")

    return guarded


class _Computed(NamedTuple):
    picture: images.Picture
    assignment: NDArray[np.uint8] | None
    """[H, W], where an overlay is drawn."""
    stats: Stats


class _Stages:
    """Does what happens to an image: other threads read and write it, the caller's computes.

    All of a video happens while computing, with threads of its own.
    """

    def __init__(self, upscaler: Upscaler, options: UpscaleOptions, bar: Bar) -> None:
        self._upscaler, self._options, self._bar = upscaler, options, bar
        self.warnings: dict[Job, tuple[str, ...]] = {}
        """Of images that were read."""

    def read(self, job: Job, _: None) -> images.Picture | None:
        """Returns the decoded image, once its output may be written; None for a video."""
        if is_video(job.source):
            refuse_existing(job.target, self._options.overwrite)
            return None
        for target in job.targets:
            if target.parent.is_dir():
                images.check_output(target, self._options.overwrite)
        options = self._options
        picture = images.read(job.source, options.max_pixels, options.accept_damaged)
        picture = images.fitted(picture, job.target)
        self.warnings[job] = picture.warnings
        self._hr_size(job, picture.pixels.shape[:2])
        return picture

    def _hr_size(self, job: Job, lr_size: tuple[int, ...]) -> tuple[int, int]:
        scale, _ = self._upscaler.completed(self._options.scale, self._options.request)
        height, width = hr_size((lr_size[0], lr_size[1]), scale)
        if height * width > LARGEST_GROWTH * self._options.max_pixels:
            raise ImageError(
                f"{job.source} would become {width}x{height}, more than {LARGEST_GROWTH} times "
                f"--max-pixels ({self._options.max_pixels}); choose a smaller --scale or raise it"
            )
        return height, width

    def compute(self, job: Job, picture: images.Picture | None) -> _Computed | Stats | VideoStats:
        """Returns the upscaled picture. It writes a video, or an image too large for that, too."""
        options = self._options
        if picture is None:
            return self._convert(job)
        for target in job.targets:
            make_folder(target.parent)
            images.check_output(target, options.overwrite)
        shape = (*self._hr_size(job, picture.pixels.shape[:2]), *picture.pixels.shape[2:])
        images.check_output(job.target, options.overwrite, shape)
        if shape[0] * shape[1] > STREAMED_PIXELS and _streams(job, picture):
            return self._stream(job, picture, shape[:2])
        result = self._upscale(picture.pixels)
        assignment = result.assignment if job.overlay else None
        return _Computed(picture.with_pixels(result.image), assignment, result.stats)

    def write(self, job: Job, computed: _Computed | Stats | VideoStats) -> Stats | VideoStats:
        """Encodes the result and its overlay, unless that is done."""
        if not isinstance(computed, _Computed):
            return computed
        (picture, assignment, stats), options = computed, self._options
        images.write(picture, job.target, options.overwrite, options.quality)
        if job.overlay and assignment is not None:
            drawn = draw_overlay(picture.pixels, assignment, self._upscaler.bundle.upsamplers)
            images.write(images.Picture(drawn), job.overlay, options.overwrite)
        return stats

    def _convert(self, job: Job) -> VideoStats:
        with open_video(job.source, self._options.max_pixels) as source:
            size = self._hr_size(job, source.size)
            make_folder(job.target.parent)
            return upscale_video(source, job.target, size, self._upscale, self._options, self._bar)

    def _stream(self, job: Job, picture: images.Picture, size: tuple[int, int]) -> Stats:
        options = self._options
        with images.row_writer(
            picture, size, job.target, options.overwrite, options.quality
        ) as take:
            return self._upscaler.run_stream(picture.pixels, take, options.scale, options.request)

    def _upscale(self, pixels: NDArray[Any]) -> Result:
        options = self._options
        return self._upscaler.run(pixels, options.scale, options.request)


def _streams(job: Job, picture: images.Picture) -> bool:
    """Tests whether an image can be written while it is computed."""
    has_alpha = picture.pixels.shape[2:] in ((2,), (4,))
    integer = picture.pixels.dtype.kind == "u"
    return integer and not has_alpha and job.overlay is None
