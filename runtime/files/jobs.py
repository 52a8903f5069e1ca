"""Jobs say which file becomes which, of inputs and an output."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pcsr import images
from pcsr.errors import UsageError

from .video import READ, WRITTEN, is_video


@dataclass(frozen=True)
class Job:
    """One image or video to upscale, and where its results go."""

    source: Path
    target: Path
    overlay: Path | None = None

    @property
    def targets(self) -> list[Path]:
        """All files that it makes."""
        return [target for target in (self.target, self.overlay) if target]


def plan_jobs(
    inputs: Sequence[Path], output: Path, recursive: bool, suffix: str | None, overlay: Path | None
) -> list[Job]:
    """Pairs images and videos with outputs. One input file becomes `output`, if that has a suffix.

    Else `output` is a folder that mirrors the inputs' own, and is not searched for inputs. Of given
    folders only the images are taken; `suffix` (".png") replaces theirs. The overlay is a file or a
    folder alike, and always PNG in a folder.

    Raises:
        UsageError: an input is missing, two results would have one name, or one replaces an input.
    """
    if len(inputs) == 1 and inputs[0].is_file() and output.suffix and not output.is_dir():
        jobs = [Job(inputs[0], output, overlay)]
    else:
        if output.is_file():
            raise UsageError(f"{output} is a file; several images need a folder for their results")
        jobs = [
            Job(
                source,
                output
                / (relative if is_video(source) else relative.with_suffix(suffix or _kept(source))),
                overlay / relative.with_suffix(".png") if overlay else None,
            )
            for source, relative in _found(inputs, output, recursive).items()
        ]
    _refuse_unwritable(jobs)
    _refuse_clashes(jobs)
    return jobs


def _kept(source: Path) -> str:
    """Returns the suffix of a result in a folder: PNG, where that of the image is only read."""
    is_read_only = source.suffix.lower() in set(images.SUFFIXES_READ) - set(images.SUFFIXES_WRITTEN)
    return ".png" if is_read_only else source.suffix


def _found(inputs: Sequence[Path], output: Path, recursive: bool) -> dict[Path, Path]:
    """Maps images to their relative paths; a folder of results inside is not searched."""
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


def _refuse_unwritable(jobs: Sequence[Job]) -> None:
    for job in jobs:
        video = is_video(job.source)
        if video and job.overlay:
            raise UsageError(f"no overlay is drawn for a video ({job.source}); leave --overlay out")
        known = WRITTEN if video else images.SUFFIXES
        advice = "name another file" if video else "pass --format, or name another file"
        kind = job.source.suffix.lower()
        if not video and kind not in images.SUFFIXES and job.target.suffix.lower() in WRITTEN:
            raise UsageError(
                f"cannot read {job.source} as a video: expected one of {' '.join(READ)}; convert "
                "it first (ffmpeg -i FILE in.mkv), or rename it if it is one of these"
            )
        for target in job.targets:
            if target.suffix.lower() not in known:
                raise UsageError(
                    f"cannot write {target}: expected one of {' '.join(known)}; {advice}"
                )


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
