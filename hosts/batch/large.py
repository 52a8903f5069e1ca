"""One very large image on several workers: its parts are tasks, its rows are joined in order.

The decoded input lies in the cluster's object store once. Each part is classified where the routing
needs it, the counts are added, and each part is upscaled by the one rule that comes of them: the
file is that of one process, byte for byte. Ray decides what runs where, and computes a part again
whose worker was lost.
"""

import atexit
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import cycle
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import ImageError, PcsrError
from pcsr.runtime.upscaler import Upscaler
from pcsr.text import last_line

from .packed import unpacked
from .parts import PartsUpscaler, PartTask, Run
from .planning import Task
from .rows import Outcome
from .worker import Setup, Worker

AHEAD = 2  # so that a worker has its next part when one is finished
FIRST_BATCH = 10**6  # numbers of a job's large images, beyond those of its batches
START_S = 60.0  # that other workers are waited for, when the first has started
MOST_RETRIES = 3  # of a part whose worker is lost


@dataclass(frozen=True)
class PartWorkers:
    """Actors of `PartWorker`."""

    actors: Sequence[Any]
    bundle: Any
    """The reference to the packed bundle."""


def on_workers(ray: Any, workers: PartWorkers, pixels: NDArray[Any]) -> Run:  # noqa: ANN401
    """Computes parts on workers, in turn: each has at most `AHEAD` parts that it computes, or that
    wait for it or to be taken.
    """
    held = ray.put(pixels)

    def run(tasks: Iterable[PartTask]) -> Iterator[Any]:
        sent: deque[Any] = deque()
        for task, worker in zip(tasks, cycle(workers.actors)):
            if len(sent) == AHEAD * len(workers.actors):
                yield _taken(ray, sent.popleft())
            sent.append(worker.run.remote(task, held, workers.bundle))
        while sent:
            yield _taken(ray, sent.popleft())

    return run


@contextmanager
def part_workers(
    ray: Any,  # noqa: ANN401
    bundle: Any,  # noqa: ANN401
    opening: Mapping[str, Any],
    count: int,
) -> Iterator[PartWorkers]:
    """Lends workers that compute parts with a packed bundle (a reference to it), opened with these
    arguments of `Upscaler`: `count`, or as many as the cluster has room for now. One that is lost
    is started again, and does its part again.
    """
    kind = ray.remote(PartWorker).options(
        num_cpus=opening.get("threads") or 1,
        max_restarts=-1,
        max_task_retries=MOST_RETRIES,
    )
    actors = [kind.remote(dict(opening)) for _ in range(count)]
    try:
        yield PartWorkers(_started(ray, actors), bundle)
    finally:
        for actor in actors:
            ray.kill(actor)


def upscale_large(
    ray: Any,  # noqa: ANN401
    setup: Setup,
    tasks: Sequence[Task],
    count: int,
) -> Iterator[Outcome]:
    """Upscales one image of a job after another, each on `count` workers that compute parts and one
    more that reads it and writes its rows.
    """
    if not tasks:
        return
    join = ray.remote(_joined).options(num_cpus=0, max_retries=MOST_RETRIES)
    with part_workers(ray, setup.bundle[0], setup.opening, count) as workers:
        for number, task in enumerate(tasks):
            try:
                yield from ray.get(join.remote(setup, workers, FIRST_BATCH + number, task))
            except ray.exceptions.RayError as error:
                reason = f"the cluster lost {task.source}: {last_line(error)}; run the job again"
                yield Outcome(task.index, None, ImageError(reason))


def _joined(setup: Setup, workers: PartWorkers, batch: int, task: Task) -> list[Outcome]:
    """Does one task, as a `Worker` does a batch."""
    with Joiner(setup, workers) as joiner:
        return joiner.outcomes(batch, task)


class Joiner(Worker):
    """A worker whose large images others compute, in parts."""

    def __init__(self, setup: Setup, workers: PartWorkers) -> None:
        super().__init__(replace(setup, options=replace(setup.options, leaves_large=False)))
        self._workers = workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def outcomes(self, batch: int, task: Task) -> list[Outcome]:
        """Gives what became of a task."""
        try:
            return self._outcomes(batch, [task])
        except PcsrError as error:
            return [Outcome(-1, None, error)]

    @cached_property
    def _upscaler(self) -> Upscaler:
        import ray

        folder = self._stack.enter_context(unpacked(ray.get(self._workers.bundle)))
        run = partial(on_workers, ray, self._workers)
        count, opening = len(self._workers.actors), self._setup.opening
        return self._stack.enter_context(PartsUpscaler(folder, run, count, **opening))


def _started(ray: Any, actors: Sequence[Any]) -> list[Any]:  # noqa: ANN401
    """Gives the actors that have started, once all have, or some time after the first."""
    answers = {actor.pid.remote(): actor for actor in actors}
    ray.wait([*answers], num_returns=1)
    ready, _ = ray.wait([*answers], num_returns=len(answers), timeout=START_S)
    return [answers[answer] for answer in ready]


class PartWorker:
    """An actor that computes parts: `ray.remote(PartWorker)`."""

    def __init__(self, opening: Mapping[str, Any]) -> None:
        self._stack, self._opening = ExitStack(), opening
        self._upscaler: Upscaler | None = None
        atexit.register(self._stack.close)

    def run(self, task: PartTask, pixels: NDArray[np.generic], bundle: bytes) -> Any:  # noqa: ANN401
        """Returns what the part gives, or the PcsrError that it fails with. The packed bundle comes
        with every call, since an actor that is started again has nothing but its arguments.
        """
        try:
            if self._upscaler is None:
                folder = self._stack.enter_context(unpacked(bundle))
                self._upscaler = self._stack.enter_context(Upscaler(folder, **self._opening))
            with self._upscaler.parts() as parts:
                return task(parts, pixels)
        except PcsrError as error:
            return error

    def pid(self) -> int:
        """Gives the id of its process."""
        return os.getpid()


def _taken(ray: Any, reference: Any) -> Any:  # noqa: ANN401
    try:
        result = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise ImageError(
            f"a part of the image killed its worker {MOST_RETRIES + 1} times, or the cluster lost "
            f"it: {last_line(error)}; most often memory ran out: use a smaller --tile"
        ) from error
    if isinstance(result, PcsrError):
        raise result
    return result
