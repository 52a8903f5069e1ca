"""Wall time per stage of one call."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from time import perf_counter


class Stopwatch:
    """Collects stage times in milliseconds, in the order of their first start."""

    def __init__(self) -> None:
        self._start = perf_counter()
        self.stage_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the body to stage `name`."""
        with self.shared() as lap, lap.stage(name):
            yield

    @contextmanager
    def shared(self) -> Iterator["Lap"]:
        """Divides the wall time of the body, in which several threads work, between their stages in
        proportion to the time that all threads spent in each.
        """
        lap = Lap()
        start = perf_counter()
        try:
            yield lap
        finally:
            wall_ms = 1000 * (perf_counter() - start)
            worked = sum(lap.seconds.values())
            for name, seconds in lap.seconds.items():
                share_ms = wall_ms * seconds / worked if worked else 0.0
                self.stage_ms[name] = self.stage_ms.get(name, 0.0) + share_ms

    @property
    def total_ms(self) -> float:
        """Since it was made."""
        return 1000 * (perf_counter() - self._start)


class Lap:
    """Seconds that threads spent in each stage, summed up."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the body, in this thread, to stage `name`."""
        start = perf_counter()
        try:
            yield
        finally:
            spent = perf_counter() - start
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + spent
