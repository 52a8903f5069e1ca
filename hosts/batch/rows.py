"""What workers give back, and the rows of the manifest that they write meanwhile."""

import pickle
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Lock
from time import monotonic
from typing import NamedTuple, Self

from pcsr.errors import PcsrError
from pcsr.runtime.files.batch import LargeImage
from pcsr.runtime.result import Stats

from .planning import Task
from .storage.manifest import Manifest, Row

FLUSH_S = 0.5
"""How long a row waits at most for others, before it is written."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    index: int
    stats: Stats | None
    """None where there is an error."""
    error: PcsrError | None
    warnings: tuple[str, ...] = ()

    @property
    def is_left(self) -> bool:
        """Tells whether it is so large that all workers upscale it together."""
        return isinstance(self.error, LargeImage)

    @property
    def is_failed(self) -> bool:
        """Tells whether it has an error, and is not left."""
        return self.error is not None and not self.is_left

    def to_bytes(self) -> bytes:
        """Packs it for a column."""
        return pickle.dumps(self)


class Written(NamedTuple):
    """An output, as it was written."""

    sha256: str
    bytes: int


def row_of(task: Task, outcome: Outcome, written: Written | None, attempts: int) -> Row:
    """Makes the manifest's row of it. `attempts` are those of all runs."""
    row = {"input": task.source, "output": task.target, "attempts": attempts}
    row |= {"finished_at": datetime.now(UTC)}
    stats = outcome.stats
    if stats is None or written is None:
        return row | {"error": str(outcome.error)}
    (height, width), (input_height, input_width) = stats.hr_size, stats.lr_size
    row |= {**written._asdict(), "width": width, "height": height}
    row |= {"input_width": input_width, "input_height": input_height}
    return row | {"heavy_share": stats.heavy_share, "ms": stats.total_ms}


class Rows:
    """Writes rows as parts of the manifest while a batch is worked on, by another thread, and all
    of them as one part at its end.
    """

    def __init__(self, manifest: Manifest, name: str) -> None:
        self._manifest, self._name = manifest, name
        self._all, self._new, self._writes = list[Row](), list[Row](), list[Future[str]]()
        self._written_s = -FLUSH_S
        self._lock, self._ending = Lock(), Event()
        self._thread = ThreadPoolExecutor(1, "pcsr-manifest")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._ending.set()
        with self._thread:
            written = [write.result() for write in self._writes]
        if len(written) > 1 and kind is None:
            self._manifest.add(self._name, self._all)
            self._manifest.remove(written)

    def add(self, row: Row) -> None:
        """Adds a row, which is written within `FLUSH_S`."""
        with self._lock:
            self._all.append(row)
            self._new.append(row)
            if len(self._new) == 1:
                self._writes.append(self._thread.submit(self._write, len(self._writes)))

    def _write(self, number: int) -> str:
        self._ending.wait(max(0.0, self._written_s + FLUSH_S - monotonic()))
        with self._lock:
            rows, self._new = self._new, []
        path = self._manifest.add(f"{self._name}-{number}", rows)
        self._written_s = monotonic()
        return path
