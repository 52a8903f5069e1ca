"""Wall time per stage of one call."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Collects stage times in milliseconds, in the order of their first start."""

    def __init__(self) -> None:
        self._start = perf_counter()
        self.stage_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the body to stage `name`."""
        start = perf_counter()
        try:
            yield
        finally:
            self.stage_ms[name] = self.stage_ms.get(name, 0.0) + 1000 * (perf_counter() - start)

    @property
    def total_ms(self) -> float:
        """Since it was made."""
        return 1000 * (perf_counter() - self._start)
