"""The plans kept in a bundle: engines/<key>/<role>.engine and build.json, checked before use."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pcsr.atomic import writing
from pcsr.bundle import Bundle
from pcsr.errors import EngineError

from .library import Library
from .record import BuildRecord, Facts, parse_record
from .target import LocalGpu

ENGINES = "engines"
RECORD = "build.json"
STALE = ".stale-"
Say = Callable[[str], object]


@dataclass(frozen=True)
class PlanSet:
    """A set of plans in memory that were checked."""

    folder: Path
    record: BuildRecord
    plans: dict[str, bytes]
    """The serialized plans by role."""

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.plans.values()))


def engines_folder(bundle: Bundle) -> Path:
    """Gives the folder where a bundle keeps its engines."""
    return bundle.path / ENGINES


def kept_folders(bundle: Bundle) -> Iterator[Path]:
    """Lists the folders of engines that are in use: neither set aside nor half-written."""
    parent = engines_folder(bundle)
    for path in sorted(parent.iterdir()) if parent.is_dir() else []:
        if path.is_dir() and not path.name.startswith(".") and STALE not in path.name:
            yield path


def read_record(folder: Path) -> BuildRecord:
    """Reads build.json of a folder, which must be named by its key.

    Raises:
        EngineError: it is missing, damaged, or not of this folder.
    """
    try:
        record = parse_record((folder / RECORD).read_text(encoding="utf-8"))
    except OSError as error:
        raise EngineError(f"{folder / RECORD} cannot be read ({error.strerror})") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise EngineError(f"{folder / RECORD} is damaged ({error})") from error
    if record.facts.key != folder.name:
        raise EngineError(f"{folder / RECORD} is not of this folder, but of {record.facts.key}")
    if set(record.plans) != set(record.facts.graphs):
        raise EngineError(f"{folder / RECORD} is damaged (a graph has no engine)")
    return record


def read_plans(folder: Path) -> PlanSet:
    """Reads a set of plans whose every byte is as it was built. Nothing is deserialised.

    Raises:
        EngineError: build.json or a plan is missing, damaged, truncated or foreign.
    """
    record = read_record(folder)
    plans = {}
    for role, plan in record.plans.items():
        try:
            data = (folder / plan.file).read_bytes()
        except OSError as error:
            raise EngineError(f"{folder / plan.file} cannot be read ({error.strerror})") from error
        found = hashlib.sha256(data).hexdigest()
        if found != plan.sha256:
            raise EngineError(
                f"{folder / plan.file} is damaged or foreign: sha256 {found[:12]}… instead of "
                f"{plan.sha256[:12]}…"
            )
        plans[role] = data
    return PlanSet(folder, record, plans)


def find_built(bundle: Bundle, facts: Facts) -> tuple[PlanSet | None, list[str]]:
    """Reads the set with exactly these facts, or says what is wrong with it."""
    folder = engines_folder(bundle) / facts.key
    try:
        return read_plans(folder) if folder.exists() else None, []
    except EngineError as error:
        return None, [str(error)]


def find_fitting(
    bundle: Bundle, library: Library, gpu: LocalGpu, precision: str
) -> tuple[PlanSet | None, list[str]]:
    """Finds the newest set for this machine and these graphs, of whatever profile and options; and
    says what is wrong with the others.
    """
    fitting, reasons = [], []
    for folder in kept_folders(bundle):
        try:
            facts = read_record(folder).facts
            reason = facts.misfit(library, gpu, precision) or facts.mismatch(bundle)
            if reason:
                reasons.append(f"{folder.name} {reason}")
            else:
                fitting.append(read_plans(folder))
        except EngineError as error:
            reasons.append(str(error))
    return max(fitting, key=lambda found: found.record.built, default=None), reasons


def newest_record(bundle: Bundle, library: Library, precision: str) -> BuildRecord | None:
    """Finds what was built last with this library and precision, stale or not; None for nothing."""
    records = []
    for folder in kept_folders(bundle):
        with suppress(EngineError):
            records.append(read_record(folder))
    wanted = library.name, precision
    ours = [one for one in records if (one.facts.library, one.facts.precision) == wanted]
    return max(ours, key=lambda record: record.built, default=None)


def set_aside_stale(bundle: Bundle, say: Say) -> None:
    """Renames folders that no machine can use: damaged ones and those of other graphs. Engines of
    other GPUs and versions stay: another machine may share the bundle.
    """
    for folder in kept_folders(bundle):
        try:
            reason = read_plans(folder).record.facts.mismatch(bundle)
        except EngineError as error:
            reason = str(error)
        if reason:
            names = (folder.with_name(f"{folder.name}{STALE}{n}") for n in itertools.count(1))
            aside = next(name for name in names if not name.exists())
            with writing(folder):
                folder.rename(aside)
            say(f"set aside as {aside.name}: {reason.removeprefix(f'{folder}/')}")
