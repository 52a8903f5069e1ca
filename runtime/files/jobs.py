"""Jobs say which file becomes which, of inputs and an output."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pcsr import images
from pcsr.errors import UsageError

from .planning.inputs import Inputs, find_inputs
from .video import READ, WRITTEN, is_video

STREAM = Path("-")
"""As an input standard input, as an output standard output."""
_OTHER_IMAGES, _OTHER_VIDEOS = ".png", ".mkv"  # what becomes of formats that are not written


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


@dataclass(frozen=True)
class Plan:
    """What a run is to do."""

    jobs: Sequence[Job]
    inputs: Inputs
    is_several: bool
    """Whether several inputs were named, or a folder."""
    from_stdin: bool = False
    """Whether the source stands for standard input."""
    to_stdout: bool = False
    """Whether the target stands for standard output; its suffix names the format."""


def plan_jobs(
    inputs: Sequence[Path],
    output: Path | str,
    recursive: bool = False,
    suffix: str | None = None,
    overlay: Path | str | None = None,
) -> Plan:
    """Pairs images and videos with outputs.

    Several inputs, or a folder, go into a folder, which mirrors the inputs' own and is not searched
    for them. One file becomes a file, unless the output ends in `/`, is a folder, or has no suffix.
    In a folder `suffix` (".png", ".mkv") replaces that of images or of videos, whichever it is for;
    images whose format is not written become .png, videos .mkv. The overlay's name is taken alike,
    and is always PNG in a folder. `-` is a stream: standard input or output.

    Raises:
        UsageError: an input is missing, an output is none, two results would have one name, or one
            replaces an input.
    """
    output, map_place = os.fspath(output), os.fspath(overlay) if overlay else None
    if STREAM in inputs or output == str(STREAM):
        return _plan_stream(inputs, output, suffix, map_place)
    several = len(inputs) > 1 or any(map(os.path.isdir, inputs))
    into = _is_folder(output, several)
    maps_into = map_place is not None and _is_folder(map_place, several)
    folders = [Path(output)] * into + [Path(map_place or "")] * maps_into
    found = find_inputs(inputs, recursive, folders)
    names = _names(found, suffix) if into else dict.fromkeys(found.files, Path())
    maps = _map_names(found) if maps_into else dict.fromkeys(found.files, Path())
    jobs = [
        Job(source, Path(output) / name, Path(map_place) / maps[source] if map_place else None)
        for source, name in names.items()
    ]
    return Plan(_checked(jobs, suffix), found, several)


def plan_folder(found: Inputs, folder: Path, suffix: str | None = None) -> Plan:
    """Pairs what was found with outputs in a folder, as `plan_jobs` does, and looks at no file.

    Raises:
        UsageError: as `plan_jobs`.
    """
    jobs = [Job(source, folder / name) for source, name in _names(found, suffix).items()]
    return Plan(_checked(jobs, suffix), found, True)


def _checked(jobs: Sequence[Job], suffix: str | None) -> Sequence[Job]:
    if suffix:
        _refuse_unused(suffix, jobs)
    _refuse_unwritable(jobs)
    _refuse_clashes(jobs)
    return jobs


def _plan_stream(
    inputs: Sequence[Path], output: str, suffix: str | None, overlay: str | None
) -> Plan:
    if len(inputs) > 1 or os.path.isdir(inputs[0]):
        raise UsageError("- is one image: name no folder and no other input with it")
    source, place = inputs[0], Path(output)
    if is_video(source) or suffix in WRITTEN:
        raise UsageError("- takes images only; name the files of a video")
    found = Inputs({source: place}) if source == STREAM else find_inputs(inputs, False)
    if place == STREAM:
        own = source.suffix if source.suffix.lower() in _written(source) else _OTHER_IMAGES
        place = STREAM.with_suffix(suffix or own)
    elif _is_folder(output, False):
        raise UsageError(f"what - becomes needs a name; write {place / 'name.png'}")
    if overlay and (overlay == str(STREAM) or _is_folder(overlay, False)):
        raise UsageError(f"the overlay of a stream needs the name of a file, found {overlay}")
    job = Job(source, place, Path(overlay) if overlay else None)
    jobs = _checked([job], suffix)
    return Plan(jobs, found, False, source == STREAM, output == str(STREAM))


def _is_folder(place: str, several: bool) -> bool:
    path = Path(place)
    if os.path.isdir(place):
        return True
    known = path.suffix.lower() in (*images.SUFFIXES, *WRITTEN)
    if not place.endswith(os.sep):
        if path.suffix and not several:
            _refuse_file_as_folder(path.parent)
            return False
        if known:
            raise UsageError(
                f"{place} is the name of a file, and the results of several files or of a folder "
                f"need a folder; name one, or write {place}/"
            )
    _refuse_file_as_folder(path)
    return True


def _refuse_file_as_folder(folder: Path) -> None:
    above = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), None)
    if above and not os.path.isdir(above):
        raise UsageError(f"{above} is a file, expected a folder for the results; name another")


def _names(found: Inputs, suffix: str | None) -> dict[Path, Path]:
    """Names the results in a folder. A suffix that nobody asked for never makes two one."""
    names = {}
    for source, relative in found.files.items():
        known = _written(source)
        other = _OTHER_VIDEOS if is_video(source) else _OTHER_IMAGES
        own = relative.suffix if relative.suffix.lower() in known else other
        names[source] = relative.with_suffix(suffix if suffix and suffix in known else own)
    return _told_apart(
        names, found, (*images.SUFFIXES_READ, *READ) if suffix else (*images.SUFFIXES, *WRITTEN)
    )


def _map_names(found: Inputs) -> dict[Path, Path]:
    names = {source: relative.with_suffix(".png") for source, relative in found.files.items()}
    return _told_apart(names, found, (".png",))


def _told_apart(names: dict[Path, Path], found: Inputs, stay: Sequence[str]) -> dict[Path, Path]:
    """Where two have one name, gives those whose old suffix does not `stay` their whole old name:
    a.gif.png beside a.png.
    """
    count = Counter(names.values())
    return {
        source: name
        if count[name] == 1 or found.files[source].suffix.lower() in stay
        else name.with_name(found.files[source].name + name.suffix)
        for source, name in names.items()
    }


def _written(source: Path) -> Sequence[str]:
    return WRITTEN if is_video(source) else images.SUFFIXES


def _refuse_unused(suffix: str, jobs: Sequence[Job]) -> None:
    if not any(suffix in _written(job.source) for job in jobs):
        kind = "videos" if suffix in WRITTEN else "images"
        raise UsageError(f"--format {suffix[1:]} is for {kind}, and no input is one; leave it out")
    for job in jobs:
        other = job.target.suffix.lower()
        if suffix in _written(job.source) and _same(other) != _same(suffix):
            raise UsageError(
                f"--format {suffix[1:]} and the name {job.target} differ; leave out --format"
            )


def _same(suffix: str) -> str:
    return {".jpeg": ".jpg", ".tif": ".tiff"}.get(suffix, suffix)


def _refuse_unwritable(jobs: Sequence[Job]) -> None:
    for job in jobs:
        video = is_video(job.source)
        if video and job.overlay:
            raise UsageError(f"no overlay is drawn for a video ({job.source}); leave --overlay out")
        kind = job.source.suffix.lower()
        if not video and kind not in images.SUFFIXES and job.target.suffix.lower() in WRITTEN:
            raise UsageError(
                f"cannot read {job.source} as a video: expected one of {' '.join(READ)}; convert "
                "it first (ffmpeg -i FILE in.mkv), or rename it if it is one of these"
            )
        for target in job.targets:
            if target.suffix.lower() not in _written(job.source):
                raise UsageError(
                    f"cannot write {target}: expected one of {' '.join(_written(job.source))}; "
                    "name another file, or end it with / for a folder"
                )


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    sources = {os.path.realpath(job.source) for job in jobs}
    taken: dict[str, Path] = {}
    for job in jobs:
        for target in job.targets:
            where = os.path.realpath(target)
            if where in sources:
                raise UsageError(f"{target} is one of the inputs; choose another output")
            if target == job.overlay and where == os.path.realpath(job.target):
                raise UsageError(f"{target} is both the output and the overlay; name two files")
            if where in taken:
                raise UsageError(
                    f"{taken[where]} and {job.source} would both become {target}; "
                    "upscale them into different folders"
                )
            taken[where] = job.source
