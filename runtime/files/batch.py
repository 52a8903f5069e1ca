"""A batch of files is upscaled: what pcsr-upscale does for each image or video."""

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
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
from pcsr.single_file import SingleFile

from . import MAX_FRAME_PIXELS, MAX_PIXELS
from .done import Done
from .jobs import Job
from .overlap import Transfer, map_ahead, side_by_side, write_behind
from .planning.memory import refuse_beyond_memory
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

NOWHERE = Transfer()
LARGEST_GROWTH = 16  # output pixels per allowed input pixel
_SKIPPED = object()
_LESS_MEMORY = "use --tile 64, fewer --threads or a smaller --scale, or raise the limit (ulimit -v)"
STREAMED_PIXELS = 2**26  # of outputs that leave while they are computed, never whole in memory


@dataclass(frozen=True)
class UpscaleOptions(Encoding):
    """Describes how images and videos are upscaled (see `Upscaler.run`) and written."""

    scale: float | None = None
    request: RoutingRequest = field(default_factory=RoutingRequest)
    quality: int = 95
    """Quality of JPEG and WebP, 1 to 100."""
    max_pixels: int | None = None
    """Limit of an input image or frame; an output may have 16 times as many. None takes 100 million
    for images, 2**24 for frames."""
    skip_existing: bool = False
    """Whether what is there already stays, and jobs of which everything is there are skipped."""
    reuse: str | None = None
    """`exact` or `off`, of the frames of a video, see `Upscaler.sequence`; None is `exact`."""
    reuse_within: float | None = None
    """By how many levels of 255 a frame may differ and be reused; None is 0."""
    accept_damaged: bool = False
    """Take what can be decoded of a damaged image."""
    leaves_large: bool = False
    """Whether images that would be streamed are left: a `LargeImage` each."""

    def limit(self, is_frame: bool) -> int:
        """Gives the limit of an image's or a frame's pixels."""
        return self.max_pixels or (MAX_FRAME_PIXELS if is_frame else MAX_PIXELS)

    def check_video_options(self, jobs: Sequence[Job]) -> None:
        """Raises UsageError where an option of videos is named and no job has one."""
        given = {
            "--reuse": self.reuse,
            "--reuse-within": self.reuse_within,
            "--crf": self.crf,
            "--codec": self.codec,
        }
        names = [name for name, value in given.items() if value is not None]
        if names and jobs and not any(is_video(job.source) for job in jobs):
            raise UsageError(
                f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} for videos, and none "
                "of the inputs is one; leave it out"
            )
        if self.reuse == "off" and self.reuse_within is not None:
            raise UsageError("--reuse off and --reuse-within exclude each other; leave one out")


class LargeImage(ImageError):
    """An image is left to others, as it is so large."""


def upscale_files(
    upscaler: Upscaler | Sequence[Upscaler],
    jobs: Sequence[Job],
    options: UpscaleOptions,
    bar: Bar = no_bar,
    transfer: Transfer = NOWHERE,
    io_threads: int = 1,
) -> Generator[Done]:
    """Upscales one file after another, of several upscalers (of one bundle on a device each) on the
    one that is free. A file that fails is reported and the others go on.

    The next image is read and the one before is written while one is computed, or `io_threads` of
    each; a job is done, and yielded in order, once it is written. `bar` shows the progress over the
    frames of a video.
    `transfer` fetches a source before it is read, and delivers a target when it is written.

    Raises:
        UsageError: an option is out of range or does not fit the bundle.
        BackendError: PyAV or the encoder of a video is not installed.
    """
    several = upscaler if isinstance(upscaler, Sequence) else [upscaler]
    upscalers = several[: max(1, len(jobs))]
    upscaler = upscalers[0]
    if upscaler.bundle.upsamplers < 2 and any(job.overlay for job in jobs):
        raise UsageError(
            f"{upscaler.bundle.path} has no routing to draw an overlay of; use a bundle with two "
            "or more upsamplers"
        )
    upscaler.completed(options.scale, options.request)
    options.check_video_options(jobs)
    for job in jobs:
        if is_video(job.source):
            check_encoder(job.target, options.codec)
    stages = _Stages(upscaler, options, bar, transfer)
    steps = ((job, None) for job in jobs)
    with (
        closing(map_ahead(_guarded(stages.read), steps, io_threads)) as read,
        closing(side_by_side(read, stages.compute_guarded, upscalers, stages.stopped)) as computed,
        closing(write_behind(computed, _guarded(stages.write), len(jobs), io_threads)) as written,
    ):
        for job, found in written:
            warnings = stages.warnings.pop(job, ())
            if isinstance(found, PcsrError):
                yield Done(job, None, found, warnings)
            else:
                yield Done(job, None if found is _SKIPPED else found, None, warnings)


def _guarded(work: Callable[[Job, Any], Any]) -> Callable[[tuple[Job, Any]], tuple[Job, Any]]:
    """Makes `work` a stage over (job, what the stage before made of it or its error)."""

    def guarded(step: tuple[Job, Any]) -> tuple[Job, Any]:
        job, found = step
        if isinstance(found, PcsrError) or found is _SKIPPED:
            return step
        try:
            return job, work(job, found)
        except (ImageError, OutputError, UsageError) as error:
            return job, error
        except OSError as error:
            return job, OutputError(f"cannot upscale {job.source}: {error.strerror or error}")
        except MemoryError:
            return job, ImageError(f"out of memory for {job.source}; {_LESS_MEMORY}")

    return guarded


class _Computed(NamedTuple):
    picture: images.Picture
    assignment: NDArray[np.uint8] | None
    """[H, W], where an overlay is drawn."""
    stats: Stats


class _Stages:
    """Does what happens to an image: other threads read and write it, the caller's computes, or
    one for each of several devices.

    All of a video happens while computing, with threads of its own.
    """

    def __init__(
        self, upscaler: Upscaler, options: UpscaleOptions, bar: Bar, transfer: Transfer
    ) -> None:
        self._upscaler, self._options, self._bar = upscaler, options, bar
        self._transfer = transfer
        self.warnings: dict[Job, tuple[str, ...]] = {}
        """Of images that were read."""
        self.stopped = threading.Event()
        """Set where a device's thread is to give up what it computes."""

    def read(self, job: Job, _: None) -> images.Picture | object | None:
        """Returns the decoded image, once its output may be written; None for a video."""
        missing = self._missing(job)
        if not missing:
            return _SKIPPED
        if is_video(job.source):
            refuse_existing(job.target, self._options.overwrite)
            return None
        for target in missing:
            if os.path.isdir(target.parent):
                images.check_output(target, self._options.overwrite)
        self._transfer.fetch(job)
        options = self._options
        picture = images.read(job.source, options.limit(is_frame=False), options.accept_damaged)
        picture = images.fitted(picture, job.target)
        self.warnings[job] = picture.warnings
        self._hr_size(job, picture.pixels.shape[:2])
        return picture

    def _missing(self, job: Job) -> list[Path]:
        skips = self._options.skip_existing
        return [path for path in job.targets if not (skips and os.path.isfile(path))]

    def _hr_size(self, job: Job, lr_size: tuple[int, ...]) -> tuple[int, int]:
        scale, _ = self._upscaler.completed(self._options.scale, self._options.request)
        height, width = hr_size((lr_size[0], lr_size[1]), scale)
        limit = self._options.limit(is_video(job.source))
        if height * width > LARGEST_GROWTH * limit:
            raise ImageError(
                f"{job.source} would become {width}x{height}, more than {LARGEST_GROWTH} times "
                f"--max-pixels ({limit}); choose a smaller --scale or raise it"
            )
        return height, width

    def compute_guarded(self, upscaler: Upscaler, step: tuple[Job, Any]) -> tuple[Job, Any]:
        return _guarded(partial(self.compute, upscaler))(step)

    def compute(
        self, upscaler: Upscaler, job: Job, picture: images.Picture | None
    ) -> _Computed | Stats | VideoStats:
        """Returns the upscaled picture. It writes a video, or an image too large for that, too."""
        options = self._options
        if picture is None:
            return self._convert(upscaler, job)
        for target in self._missing(job):
            make_folder(target.parent)
            images.check_output(target, options.overwrite)
        size = self._hr_size(job, picture.pixels.shape[:2])
        if job.target in self._missing(job):
            shape = (*size, *picture.pixels.shape[2:])
            images.check_output(job.target, options.overwrite, shape)
        streams = size[0] * size[1] > STREAMED_PIXELS and _streams(job, picture)
        if streams and options.leaves_large:
            raise LargeImage(f"{job.source} is left to all workers together")
        self._refuse_beyond_memory(job, picture, size, streams)
        if streams:
            return self._stream(upscaler, job, picture, size)
        with self._rows_shown(job, size[0] * (1 + picture.has_alpha)) as on_rows:
            result = self._upscale(upscaler, picture.pixels, on_rows)
        assignment = result.assignment if job.overlay else None
        return _Computed(picture.with_pixels(result.image), assignment, result.stats)

    def write(self, job: Job, computed: _Computed | Stats | VideoStats) -> Stats | VideoStats:
        """Encodes the result and its overlay, unless that is done."""
        stats = computed.stats if isinstance(computed, _Computed) else computed
        if isinstance(computed, _Computed):
            self._encode(job, computed)
        self._transfer.deliver(job, stats)
        return stats

    def _encode(self, job: Job, computed: _Computed) -> None:
        (picture, assignment, _), options = computed, self._options
        missing = self._missing(job)
        if job.target in missing:
            images.write(picture, job.target, options.overwrite, options.quality)
        if job.overlay in missing and assignment is not None:
            drawn = draw_overlay(picture.pixels, assignment, self._upscaler.bundle.upsamplers)
            images.write(images.Picture(drawn), job.overlay, options.overwrite)

    def _refuse_beyond_memory(
        self, job: Job, picture: images.Picture, size: tuple[int, int], is_streamed: bool
    ) -> None:
        request, where = self._options.request, self._upscaler.time_key()
        is_one_file = isinstance(self._upscaler.bundle, SingleFile)
        refuse_beyond_memory(
            job.source,
            picture.pixels,
            size,
            is_streamed,
            has_overlay=job.overlay is not None,
            has_share=request.heavy_ratio is not None or request.budget_ms is not None,
            has_graphs=where.device == "cpu" and (where.passes == "graphs" or is_one_file),
        )

    def _convert(self, upscaler: Upscaler, job: Job) -> VideoStats:
        options = self._options
        with open_video(job.source, options.limit(is_frame=True)) as source:
            size = self._hr_size(job, source.size)
            make_folder(job.target.parent)
            with upscaler.sequence(
                options.scale,
                reuse=options.reuse or "exact",
                within=options.reuse_within or 0,
                **asdict(options.request),
            ) as frames:

                def upscale(pixels: NDArray[Any]) -> Result:
                    self._refuse_stopped()
                    return frames(pixels)

                return upscale_video(source, job.target, size, upscale, options, self._bar)

    def _stream(
        self, upscaler: Upscaler, job: Job, picture: images.Picture, size: tuple[int, int]
    ) -> Stats:
        options = self._options
        with (
            images.row_writer(
                picture, size, job.target, options.overwrite, options.quality
            ) as write,
            self._rows_shown(job, size[0]) as on_rows,
        ):

            def take(rows: NDArray[Any]) -> None:
                self._refuse_stopped()
                write(rows)
                on_rows(len(rows))

            return upscaler.run_stream(picture.pixels, take, options.scale, options.request)

    def _refuse_stopped(self) -> None:
        if self.stopped.is_set():
            raise KeyboardInterrupt  # only the main thread is sent one

    def _upscale(
        self,
        upscaler: Upscaler,
        pixels: NDArray[Any],
        on_rows: Callable[[int], None] | None = None,
    ) -> Result:
        self._refuse_stopped()
        options = self._options
        return upscaler.run(pixels, options.scale, options.request, on_rows)

    @contextmanager
    def _rows_shown(self, job: Job, count: int) -> Iterator[Callable[[int], None]]:
        """Lends what moves the bar on, which is over `count` rows, by some of them."""
        with self._bar(range(count), job.source.name, count) as rows:
            left = iter(rows)

            def move(finished: int) -> None:
                for _ in islice(left, finished):
                    pass

            yield move


def _streams(job: Job, picture: images.Picture) -> bool:
    """Tests whether an image can be written while it is computed."""
    integer = picture.pixels.dtype.kind == "u"
    return integer and not picture.has_alpha and job.overlay is None
