"""What a job has to do: which input becomes which output, and in which batches."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PosixPath, PurePosixPath
from typing import NamedTuple

from pcsr import images
from pcsr.errors import UsageError
from pcsr.runtime.files.jobs import Plan, plan_folder
from pcsr.runtime.files.planning.inputs import Inputs, find_inputs
from pcsr.runtime.files.video import WRITTEN, is_video

from .storage.places import Place

MOST_BYTES = 2**26  # of the encoded inputs that a worker is handed at once
MOST_FILES = 64
_ROUNDS = 8  # batches for each worker, so that all end at about the same time


class Remote(PosixPath):
    """The name of a file on another file system, in the place of a path: it shows its URI."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)


@dataclass(frozen=True)
class Task:
    """One image of a job."""

    index: int
    """Where its `Job` stands in the plan."""
    source: str
    """The input's absolute path or its URI, as the manifest has it."""
    place: int | None
    """Which of the inputs' places it lies in; None: it is a local file."""
    name: str
    """Its name below that place."""
    target: str
    """The name of the output below the folder of results."""
    bytes: int
    """Of the input."""
    attempts: int = 0
    """How often earlier runs have tried it."""
    replaces: bool = False
    """Whether an output that is there may be replaced."""


@dataclass(frozen=True)
class Outline:
    """The inputs of a job, and a task for each."""

    plan: Plan
    tasks: Sequence[Task]
    places: Sequence[Place]
    """What was named as inputs."""
    target: Place
    """The folder of results."""
    suffix: str | None
    """Of the outputs' names, where one was asked for."""


class _Source(NamedTuple):
    """Where a file lies: as `Task` says it."""

    shown: str
    place: int | None
    name: str
    bytes: int


Sources = dict[Path, _Source]


def outline(
    inputs: Sequence[str], output: str, recursive: bool = False, suffix: str | None = None
) -> Outline:
    """Pairs inputs, files and folders by path or URI, with outputs in a folder.

    Raises:
        UsageError: as `plan_jobs`; an input is a video or a stream; the output is a file.
        BackendError: pyarrow is not installed, or not built for such a URI.
    """
    if "-" in (*inputs, output):
        raise UsageError("- (a stream) does not go with --engine; name files or folders")
    target, places = Place.of(output), [Place.of(name) for name in inputs]
    _refuse_file(target, output)
    if not _is_text(target.uri):
        raise UsageError(f"the name {_escaped(output)} is not UTF-8; choose another folder")
    local = [_typed(name) for name in inputs if Place.of(name).local]
    found = find_inputs(local, recursive, _local(target)) if local else Inputs()
    sources = _local_sources(found)
    for number, place in enumerate(places):
        if not place.local:
            _look_into(place, number, recursive, target, found, sources)
    _leave_out_unnamed(found, sources)
    if not found.files:
        raise UsageError("; ".join(str(error) for error in found.failed))
    folder = _typed(output) if target.local else Remote(target.shown())
    plan = plan_folder(found, folder, suffix)
    _refuse_videos(plan)
    return Outline(plan, _tasks(plan, folder, sources), places, target, suffix)


def batches(tasks: Sequence[Task], workers: int) -> Iterator[Sequence[Task]]:
    """Yields the tasks in batches of at most 64 MiB (or one larger file) and 64 files; of fewer
    where there are few for each worker. Those of a batch replace outputs alike.
    """
    most = max(1, min(MOST_FILES, len(tasks) // (_ROUNDS * workers)))
    batch: list[Task] = []
    for task in sorted(tasks, key=lambda task: task.replaces):
        size = sum(other.bytes for other in batch) + task.bytes
        if batch and (
            len(batch) == most or size > MOST_BYTES or batch[0].replaces != task.replaces
        ):
            yield batch
            batch = []
        batch.append(task)
    if batch:
        yield batch


def _typed(name: str) -> Path:
    """Gives a local path as it was typed."""
    return Path(name) if "://" not in name else Path(Place.of(name).uri)


def _local(place: Place) -> list[Path]:
    return [place.local] if place.local else []


def _refuse_file(target: Place, output: str) -> None:
    is_file = any(path.is_file() for path in _local(target))
    names_file = PurePosixPath(output).suffix.lower() in (*images.SUFFIXES, *WRITTEN)
    if is_file or (names_file and not output.endswith("/")):
        raise UsageError(f"--engine writes into a folder, found the file {output}; name a folder")


def _refuse_videos(plan: Plan) -> None:
    video = next((job.source for job in plan.jobs if is_video(job.source)), None)
    if video is not None:
        raise UsageError(f"--engine upscales images, found the video {video}; leave out --engine")


def _leave_out_unnamed(found: Inputs, sources: Sources) -> None:
    """Leaves out files whose names no table of text can hold."""
    for path in [path for path in found.files if not _is_text(sources[path].shown)]:
        del found.files[path]
        error = f"cannot list {_escaped(path)} in the manifest: its name is not UTF-8; rename it"
        found.failed.append(UsageError(error))


def _is_text(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _escaped(name: str | Path) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")


def _local_sources(found: Inputs) -> Sources:
    sources = {}
    for path in found.files:
        try:
            size = path.stat().st_size
        except OSError:  # said when it is read
            size = 0
        sources[path] = _Source(str(path.absolute()), None, "", size)
    return sources


def _look_into(
    place: Place, number: int, recursive: bool, target: Place, found: Inputs, sources: Sources
) -> None:
    """Finds the images in a place that is not local, as `find_inputs` does in folders."""
    is_file, results = place.is_file(), f"{target.shown()}/"
    listed = [("", 0)] if is_file else sorted(place.files(recursive=recursive))
    skipped, count = Counter[str](), len(sources)
    for name, size in listed:
        shown = place.shown(name)
        path = Remote(shown)
        if is_file:
            found.files[path] = Path(path.name)
        elif shown.startswith(results) or any(p.startswith(".") for p in Path(name).parts):
            continue
        elif path.suffix.lower() in images.SUFFIXES_READ:
            found.files[path] = Path(name)
        else:
            skipped[path.suffix.lower() or "without suffix"] += 1
            continue
        sources[path] = _Source(shown, number, name, size)
    found.skipped += skipped
    if len(sources) == count:
        hint = "" if recursive else ", or pass --recursive to look into its sub-folders"
        error = UsageError(f"no image in {place.shown()}; name another folder{hint}")
        found.failed.append(error)


def _tasks(plan: Plan, folder: Path, sources: Sources) -> list[Task]:
    tasks = []
    for index, job in enumerate(plan.jobs):
        shown, place, name, size = sources[job.source]
        target = "/".join(job.target.relative_to(folder).parts)
        tasks.append(Task(index, shown, place, name, target, size))
    return tasks
