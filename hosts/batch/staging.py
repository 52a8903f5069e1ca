"""Files of other file systems beside a worker: fetched before they are read, sent when written."""

import hashlib
import mmap
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from threading import Lock, Semaphore
from typing import Any, Self

from pcsr.atomic import writing
from pcsr.interrupts import remove
from pcsr.runtime.files.jobs import Job
from pcsr.runtime.files.overlap import Transfer

from .planning import Task
from .rows import Written
from .storage.places import Place

AHEAD = 8  # files that are fetched, or sent, at once
BYTES_PER_PIXEL, LEAST_BYTES = 16, 2**26  # an input is never larger, whatever its format
Finish = Callable[[int, Any, Written], object]


class Staging(Transfer):
    """The files of some tasks as local ones. Inputs and outputs that are local stay where they are.

    Args:
        tasks: what is to be done, in this order.
        places: those that the tasks name.
        target: the folder of results.
        folder: where a temporary folder may be made.
        max_pixels: of an input; a file of many more bytes is not fetched.
        finish: what is done, by another thread, once an output is where it belongs, with the number
            of its task, its figures, and the SHA-256 and the number of its bytes.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        places: Sequence[Place],
        target: Place,
        folder: Path,
        max_pixels: int,
        finish: Finish,
    ) -> None:
        self._tasks, self._places, self._target = tasks, places, target
        self._most_bytes = max(LEAST_BYTES, BYTES_PER_PIXEL * max_pixels)
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(TemporaryDirectory(dir=folder)))
        self._threads = self._stack.enter_context(ThreadPoolExecutor(AHEAD, "pcsr-transfer"))
        self._coming: dict[Path, Future[None]] = {}
        self._sending: dict[int, Future[None]] = {}
        self._finish, self._free = finish, Semaphore(AHEAD)
        self._next, self._lock = 0, Lock()
        self.jobs = [self._job(number, task) for number, task in enumerate(tasks)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._stack.close()

    def fetch(self, job: Job) -> None:
        """Waits for a source, and begins to fetch those behind it.

        Raises:
            ImageError: it cannot be read, or is too large.
        """
        number = self.jobs.index(job)
        with self._lock:  # several threads read
            for other in range(self._next, min(number + AHEAD, len(self.jobs))):
                self._begin(other)
                self._next = other + 1
        coming = self._coming.pop(job.source, None)
        if coming:
            coming.result()

    def deliver(self, job: Job, stats: Any) -> None:  # noqa: ANN401
        """Begins to send an output to where it belongs; waits where many are on their way."""
        number = self.jobs.index(job)
        self._free.acquire()
        self._sending[number] = self._threads.submit(self._send, number, stats)

    def sent(self, number: int) -> None:
        """Waits until an output is where it belongs, and removes the temporary files.

        Raises:
            OutputError: it cannot be written there.
        """
        try:
            if number in self._sending:
                self._sending.pop(number).result()
        finally:
            for path in (self.jobs[number].source, self.jobs[number].target):
                if path.parent == self._folder:
                    remove(path)

    def named(self, number: int, text: str) -> str:
        """Names the files as they are known elsewhere, in a message."""
        job, task = self.jobs[number], self._tasks[number]
        text = text.replace(str(job.target), self._target.shown(task.target))
        return text.replace(str(job.source), task.source)

    def _job(self, number: int, task: Task) -> Job:
        source, target = Path(task.source), self._folder / f"output-{number}"
        if task.place is not None:
            source = self._folder / f"input-{number}{source.suffix}"
        if self._target.local:
            return Job(source, self._target.local / task.target)
        return Job(source, target.with_suffix(PurePosixPath(task.target).suffix))

    def _begin(self, number: int) -> None:
        task, path = self._tasks[number], self.jobs[number].source
        if task.place is not None:
            self._coming[path] = self._threads.submit(self._fetched, task, path)

    def _fetched(self, task: Task, path: Path) -> None:
        place = self._places[task.place or 0]
        path.write_bytes(place.read(task.name, self._most_bytes))

    def _send(self, number: int, stats: Any) -> None:  # noqa: ANN401
        path, task = self.jobs[number].target, self._tasks[number]
        try:
            with writing(path), path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            with data:
                if self._target.local is None:
                    self._target.write(task.target, data)
                written = Written(hashlib.sha256(data).hexdigest(), len(data))
            self._finish(number, stats, written)
        finally:
            self._free.release()
