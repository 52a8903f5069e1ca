"""Files in, files out: what pcsr-upscale does for each image."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pcsr import images
from pcsr.cli import MAX_PIXELS, one_line
from pcsr.errors import ImageError, OutputError, PcsrError, UsageError
from pcsr.overlay import draw_overlay

from .overlap import read_ahead, write_behind
from .result import Result, Stats
from .upscaler import Upscaler

LARGEST_GROWTH = 16  # output pixels per allowed input pixel


@dataclass(frozen=True)
class Job:
    """One image to upscale, and where its results go."""

    source: Path
    target: Path
    overlay: Path | None = None

    @property
    def targets(self) -> list[Path]:
        """All files that come of it."""
        return [target for target in (self.target, self.overlay) if target]


@dataclass(frozen=True)
class Options:
    """How images are upscaled (see `Upscaler.__call__`) and written.

    quality: 1..100, of JPEG and WebP. max_pixels: of an input; 16 times as many of an output.
    """

    scale: float | None = None
    k: float = 0.0
    adaptive: bool = False
    heavy_ratio: float | None = None
    refine: bool = True
    overwrite: bool = False
    quality: int = 95
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Done:
    """One finished job: its figures, or the error that ended it."""

    job: Job
    stats: Stats | None
    error: PcsrError | None

    def to_json(self) -> dict[str, Any]:
        """One record, valid JSON."""
        record: dict[str, Any] = {"input": str(self.job.source), "output": str(self.job.target)}
        if self.stats is None:
            return record | {"error": str(self.error)}
        stats = asdict(self.stats)
        if stats["threshold"] is not None and not math.isfinite(stats["threshold"]):
            stats["threshold"] = None
        overlay = {"overlay": str(self.job.overlay)} if self.job.overlay else {}
        return record | overlay | stats | {"heavy_share": self.stats.heavy_share}


def plan_jobs(
    inputs: Sequence[Path], output: Path, recursive: bool, suffix: str | None, overlay: Path | None
) -> list[Job]:
    """Pairs images with outputs. One input file and an output with a suffix: that file.

    Else `output` is a folder that mirrors the inputs' own, and is not searched for inputs; `suffix`
    (".png") replaces theirs. The overlay is a file or a folder alike, and always PNG in a folder.

    Raises:
        UsageError: an input is missing, two results would have one name, or one replaces an input.
    """
    if len(inputs) == 1 and inputs[0].is_file() and output.suffix and not output.is_dir():
        jobs = [Job(inputs[0], output, overlay)]
    else:
        _refuse_file(output)
        jobs = [
            Job(
                source,
                output / (relative.with_suffix(suffix) if suffix else relative),
                overlay / relative.with_suffix(".png") if overlay else None,
            )
            for source, relative in _found(inputs, output, recursive).items()
        ]
    _refuse_unwritable(jobs)
    _refuse_clashes(jobs)
    return jobs


def _found(inputs: Sequence[Path], output: Path, recursive: bool) -> dict[Path, Path]:
    """Images and their relative paths; the folder of results is not searched, if it lies inside."""
    found: dict[Path, Path] = {}
    results = output.resolve()
    for given in inputs:
        inside = results != given.resolve() and results.is_relative_to(given.resolve())
        for source, relative in images.find_images([given], recursive).items():
            if not (inside and source.resolve().is_relative_to(results)):
                found[source] = relative
    if not found:
        raise UsageError(f"no image to upscale: all there are lie in the output folder {output}")
    return found


def _refuse_file(output: Path) -> None:
    if output.is_file():
        raise UsageError(f"{output} is a file; several images need a folder for their results")


def _refuse_unwritable(jobs: Sequence[Job]) -> None:
    for job in jobs:
        for target in job.targets:
            if target.suffix.lower() not in images.SUFFIXES:
                raise UsageError(
                    f"cannot write {target}: expected one of {' '.join(images.SUFFIXES)}; "
                    "pass --format, or name another file"
                )


def upscale_files(upscaler: Upscaler, jobs: Sequence[Job], options: Options) -> Iterator[Done]:
    """Upscales one file after another. A file that fails is reported and the others go on.

    The next image is read and the one before is written while one is computed; a job is done, and
    yielded in order, once it is written.

    Raises:
        UsageError: an option is out of range or does not fit the bundle.
    """
    if upscaler.bundle.upsamplers < 2 and any(job.overlay for job in jobs):
        raise UsageError(
            f"{upscaler.bundle.path} has no routing to draw an overlay of; use a bundle with two "
            "or more upsamplers"
        )
    upscaler.check_options(options.scale, options.k, options.adaptive, options.heavy_ratio)
    stages = _Stages(upscaler, options)
    with (
        closing(read_ahead(map(_guarded(stages.read), ((job, None) for job in jobs)))) as read,
        closing(
            write_behind(map(_guarded(stages.compute), read), _guarded(stages.write), len(jobs))
        ) as written,
    ):
        for job, found in written:
            failed = isinstance(found, PcsrError)
            yield Done(job, None if failed else found, found if failed else None)


def _guarded(work: Callable[[Job, Any], Any]) -> Callable[[tuple[Job, Any]], tuple[Job, Any]]:
    """A stage over (job, what the stage before made of it); an error takes the place of that."""

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


class _Stages:
    """What happens to an image: read and written by threads beside, computed by the caller's."""

    def __init__(self, upscaler: Upscaler, options: Options) -> None:
        self._upscaler, self._options = upscaler, options

    def read(self, job: Job, _: None) -> images.Picture:
        """The decoded input, once its output may be written."""
        for target in job.targets:
            if target.parent.is_dir():
                images.check_output(target, self._options.overwrite)
        picture = images.read(job.source, self._options.max_pixels)
        height, width = self._hr_size(picture)
        if height * width > LARGEST_GROWTH * self._options.max_pixels:
            raise ImageError(
                f"{job.source} would become {width}x{height}, more than {LARGEST_GROWTH} times "
                f"--max-pixels ({self._options.max_pixels}); choose a smaller --scale or raise it"
            )
        return picture

    def compute(self, job: Job, picture: images.Picture) -> tuple[images.Picture, Result]:
        """The upscaled picture, with the input's metadata."""
        options = self._options
        for target in job.targets:
            _make_folder(target.parent)
            images.check_output(target, options.overwrite)
        shape = (*self._hr_size(picture), *picture.pixels.shape[2:])
        images.check_output(job.target, options.overwrite, shape)
        result = self._upscaler(
            picture.pixels,
            options.scale,
            options.k,
            options.adaptive,
            options.heavy_ratio,
            options.refine,
        )
        return picture.with_pixels(result.image), result

    def write(self, job: Job, computed: tuple[images.Picture, Result]) -> Stats:
        """Encodes the result and its overlay."""
        (picture, result), options = computed, self._options
        images.write(picture, job.target, options.overwrite, options.quality)
        if job.overlay and result.assignment is not None:
            upsamplers = self._upscaler.bundle.upsamplers
            drawn = images.Picture(draw_overlay(result.image, result.assignment, upsamplers))
            images.write(drawn, job.overlay, options.overwrite)
        return result.stats

    def _hr_size(self, picture: images.Picture) -> tuple[int, int]:
        scale, _ = self._upscaler.check_options(self._options.scale)
        height, width = (round(n * scale) for n in picture.pixels.shape[:2])
        return height, width


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot create the folder {folder}: {error.strerror}") from error


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    taken: dict[Path, Path] = {}
    for job in jobs:
        for target in job.targets:
            where = target.resolve()
            if where in sources:
                raise UsageError(f"{target} is one of the inputs; choose another output")
            if target == job.overlay and where == job.target.resolve():
                raise UsageError(f"{target} is both the output and the overlay; name two files")
            if where in taken:
                raise UsageError(
                    f"{taken[where]} and {job.source} would both become {target}; "
                    "upscale them into different folders"
                )
            taken[where] = job.source


def summary(done: Done) -> str:
    """One line about a finished image, for a terminal."""
    if done.stats is None:
        return one_line(f"{done.job.source}: {done.error}")
    stats: Mapping[str, Any] = done.to_json()
    height, width = stats["hr_size"]
    routed = f", {stats['heavy_share']:.1%} heavy" if len(stats["pixels_per_upsampler"]) > 1 else ""
    return one_line(f"{done.job.target}: {width}x{height}{routed}, {stats['total_ms']:.0f} ms")
