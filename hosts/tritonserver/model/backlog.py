"""A bounded number of requests that wait for a bounded number of threads."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from .refusals import BusyError

Answering = Callable[[], None]


class Backlog:
    """Runs work in threads, first come, first served, and refuses what is too much.

    Args:
        threads: how many run at once.
        most: how many may be there at once, those that run included.
        most_bytes: how many bytes they may hold together; one alone may hold more.
        changed: is told the count and the bytes of those that are there, after each change.
    """

    def __init__(
        self, threads: int, most: int, most_bytes: int, changed: Callable[[int, int], None]
    ) -> None:
        self._pool = ThreadPoolExecutor(threads, "pcsr-serve")
        self._most, self._most_bytes, self._changed = most, most_bytes, changed
        self._lock = threading.Lock()
        self._count = self._bytes = 0

    def submit(self, held_bytes: int, work: Callable[[], Answering]) -> None:
        """Lets a thread run the work later, and then the answering that it returns. Before that
        there is room for another one: whoever is answered may send the next at once.

        Raises:
            BusyError: there are too many, or they hold too much.
        """
        with self._lock:
            if self._count >= self._most:
                raise BusyError(f"{self._count} requests are pending already; try again later")
            if self._count and self._bytes + held_bytes > self._most_bytes:
                raise BusyError(
                    f"{self._count} pending requests hold {self._bytes} bytes of images, and this "
                    f"one's {held_bytes} are too many; try again later"
                )
            self._change(1, held_bytes)
        try:
            self._pool.submit(self._run, held_bytes, work)
        except BaseException:
            self._left(held_bytes)
            raise

    def close(self) -> None:
        """Takes nothing more, and waits for what is there."""
        self._pool.shutdown()

    def _run(self, held_bytes: int, work: Callable[[], Answering]) -> None:
        try:
            answering = work()
        finally:
            self._left(held_bytes)
        answering()

    def _left(self, held_bytes: int) -> None:
        with self._lock:
            self._change(-1, -held_bytes)

    def _change(self, count: int, held_bytes: int) -> None:
        self._count, self._bytes = self._count + count, self._bytes + held_bytes
        self._changed(self._count, self._bytes)
