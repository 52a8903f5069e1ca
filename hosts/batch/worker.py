"""A worker of a job, as Ray Data runs it: paths in, and what became of them out. Pixels never
leave it but as files.
"""

import atexit
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from pcsr.errors import ImageError, OutputError, PcsrError
from pcsr.runtime.files.batch import UpscaleOptions, upscale_files
from pcsr.runtime.files.done import Done
from pcsr.runtime.files.overlap import io_threads
from pcsr.runtime.result import Stats
from pcsr.runtime.upscaler import Upscaler

from .ledger import MOST_ATTEMPTS
from .packed import unpacked
from .planning import Task
from .rows import Outcome, Rows, Written, row_of
from .staging import AHEAD, Staging
from .storage.manifest import Manifest
from .storage.places import Place

if TYPE_CHECKING:
    import pyarrow

Item = TypeVar("Item")


@dataclass(frozen=True)
class Setup:
    """What every worker of a job is made with."""

    bundle: Sequence[Any]
    """The reference to the packed bundle. Within a sequence Ray does not fetch it for an actor's
    constructor, which could not be called again once the object is lost."""
    opening: Mapping[str, Any]
    """Arguments of `Upscaler` besides the bundle."""
    options: UpscaleOptions
    places: Sequence[Place]
    target: Place
    run: str
    """Names the run in the names of the manifest's parts."""
    ledger: Any
    """The handle of the `Ledger`."""
    stops: bool
    """Whether an error ends the batch that it is in."""


class Worker:
    """Upscales batches of files: a callable class for `Dataset.map_batches`."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self._stack = setup, ExitStack()
        self._manifest = Manifest(setup.target)

    def __call__(self, table: "pyarrow.Table") -> "pyarrow.Table":
        """Takes a table of tasks, gives one of outcomes. An error of none of them, such as a bundle
        that does not open, is an outcome of index -1.
        """
        import pyarrow as pa

        rows = table.to_pylist()
        batch = rows[0]["batch"]
        tasks = [Task(**{k: v for k, v in row.items() if k != "batch"}) for row in rows]
        try:
            outcomes = self._outcomes(batch, tasks)
        except PcsrError as error:
            outcomes = [Outcome(-1, None, error)]
        return pa.table({"outcome": [outcome.to_bytes() for outcome in outcomes]})

    @cached_property
    def _upscaler(self) -> Upscaler:
        import ray

        atexit.register(self._stack.close)
        content = ray.get(self._setup.bundle[0])
        folder = self._stack.enter_context(unpacked(content))
        return self._stack.enter_context(Upscaler(folder, **self._setup.opening))

    def _outcomes(self, batch: int, tasks: Sequence[Task]) -> list[Outcome]:
        attempt = self._ask("begin", f"batch {batch}")
        name = f"{self._setup.run}-{batch:06d}"
        with Rows(self._manifest, name) as rows:
            if attempt == 1:
                return list(self._until_error(self._upscaled(tasks, rows, 1)))
            return list(self._until_error(self._one_by_one(tasks, rows)))

    def _until_error(self, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        for outcome in outcomes:
            yield outcome
            if outcome.is_failed and self._setup.stops:
                break

    def _one_by_one(self, tasks: Sequence[Task], rows: Rows) -> Iterator[Outcome]:
        """Tries a batch again whose worker was killed: one image after another, so that the one
        that kills it is known.
        """
        for task in tasks:
            outcome = self._ask("finished", task.target)
            if outcome is None:
                attempt = 1 + self._ask("begin", task.target)
                if attempt > MOST_ATTEMPTS:
                    outcome = _given_up(task)
                    rows.add(row_of(task, outcome, None, task.attempts + MOST_ATTEMPTS))
                else:
                    again = replace(task, replaces=True)
                    (outcome,) = self._upscaled([again], rows, attempt)
                self._ask("finish", task.target, outcome)
            yield outcome

    def _upscaled(self, tasks: Sequence[Task], rows: Rows, attempt: int) -> Iterator[Outcome]:
        setup = self._setup
        options = replace(setup.options, overwrite=tasks[0].replaces)
        limit, folder = options.limit(is_frame=False), self._upscaler.bundle.path.parent
        beside = io_threads(setup.opening["device"], setup.opening["threads"])

        def finish(number: int, stats: Stats, written: Written) -> None:
            task = tasks[number]
            outcome = Outcome(task.index, stats, None)
            rows.add(row_of(task, outcome, written, task.attempts + attempt))

        with (
            Staging(tasks, setup.places, setup.target, folder, limit, finish) as staging,
            closing(
                upscale_files(
                    self._upscaler, staging.jobs, options, transfer=staging, io_threads=beside
                )
            ) as finished,
        ):
            for number, done in _behind(enumerate(finished)):
                task, outcome = tasks[number], _outcome(staging, number, tasks[number], done)
                if outcome.is_failed:
                    rows.add(row_of(task, outcome, None, task.attempts + attempt))
                yield outcome

    def _ask(self, method: str, *args: Any) -> Any:  # noqa: ANN401
        import ray

        return ray.get(getattr(self._setup.ledger, method).remote(*args))


def _behind(items: Iterable[Item]) -> Iterator[Item]:
    """Yields the same items, some later: what is begun for each may end meanwhile."""
    waiting = deque[Item]()
    for item in items:
        waiting.append(item)
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def _outcome(staging: Staging, number: int, task: Task, done: Done) -> Outcome:
    """Says what became of a task, once its output is where it belongs."""
    error, stats = done.error, done.stats if isinstance(done.stats, Stats) else None
    try:
        staging.sent(number)
    except OutputError as failed:
        error, stats = failed, None
    warnings = tuple(staging.named(number, warning) for warning in done.image_warnings)
    said = error and type(error)(staging.named(number, str(error)))
    return Outcome(task.index, stats, said, warnings)


def _given_up(task: Task) -> Outcome:
    return Outcome(
        task.index,
        None,
        ImageError(
            f"{task.source} killed its worker {MOST_ATTEMPTS} times and was given up: most often "
            "memory ran out; use fewer --workers, a smaller --tile or a smaller --scale"
        ),
    )
