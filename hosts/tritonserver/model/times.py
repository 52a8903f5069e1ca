"""How long a request was in each of its stages."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

QUEUE, DECODE, COMPUTE, ENCODE = "queue", "decode", "compute", "encode"
STAGES = (QUEUE, DECODE, COMPUTE, ENCODE)


class Times:
    """Collects milliseconds by stage; one begins when the request comes, in the queue."""

    def __init__(self) -> None:
        self._start = perf_counter()
        self.stage_ms: dict[str, float] = {}

    def begin(self) -> None:
        """Ends the time in the queue: a thread takes the request."""
        self._add(QUEUE, self._start)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the body to a stage."""
        start = perf_counter()
        try:
            yield
        finally:
            self._add(name, start)

    def _add(self, name: str, start: float) -> None:
        self.stage_ms[name] = self.stage_ms.get(name, 0.0) + 1000 * (perf_counter() - start)
