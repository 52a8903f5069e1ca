"""Threads over chunks of pixels and strips of rows."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import Context

from pcsr.errors import ImageError
from pcsr.interrupts import interrupts_deferred
from pcsr.runtime.shutdown import foreign_call, stop_at_exit

PIXELS_PER_CHUNK = 8192
PIXELS_PER_STRIP = 65536
NO_THREAD = "can't start new thread"
Work = Callable[[slice], None]


class Workers:
    """Runs work over consecutive ranges on the calling thread and, of several threads, on those
    of a pool beside it; NumPy and ONNX Runtime release the GIL.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="pcsr")

    def over_pixels(self, count: int, work: Work, step: int = PIXELS_PER_CHUNK) -> None:
        """Runs over chunks of `step` of a list of `count` pixels."""
        self.over_ranges(
            (slice(start, min(start + step, count)) for start in range(0, count, step)), work
        )

    def over_rows(self, size: tuple[int, ...], work: Work, pixels: int = PIXELS_PER_STRIP) -> None:
        """Runs over strips, of about so many pixels, of an image of `size` (height, width)."""
        self.over_pixels(size[0], work, max(1, pixels // size[1]))

    def close(self) -> None:
        """Ends the threads, and waits until they have."""
        self._pool.shutdown()

    def over_ranges(self, ranges: Iterable[slice], work: Work) -> None:
        """Runs over ranges of the caller's choice. Where one of them fails, those that have not
        begun never do, and the others have ended when the error is raised.

        Raises:
            ImageError: the system starts no thread.
        """
        here = [*ranges]
        try:
            if self.threads > 1 and len(here) > 1:
                self._share_out(here, work)
            else:
                for part in here:
                    _run(work, part)
        except RuntimeError as error:  # Python has no class of its own for this
            stop_at_exit(error)
            if NO_THREAD not in str(error):
                raise
            raise ImageError(
                f"the system starts no thread ({error}); pass fewer threads, or raise the limit of "
                "memory or processes (ulimit -v, ulimit -u)"
            ) from error

    def _share_out(self, here: list[slice], work: Work) -> None:
        parts = list[tuple[slice, Future[None]]]()
        try:
            with interrupts_deferred():  # the end would wait for ever for a thread half started
                while len(here) > 1:
                    parts.append((here[1], self._pool.submit(work, here.pop(1))))
            _run(work, here[0])
            _share(parts, work)
        finally:  # what they write into is lent to others next
            if parts:
                wait([done for _, done in parts if not done.cancel()])


def _run(work: Work, part: slice) -> None:
    """Runs work here as it would run in a thread of the pool, under no settings of the caller."""
    with foreign_call():
        Context().run(work, part)


def _share(parts: list[tuple[slice, Future[None]]], work: Work) -> None:
    """Runs here what no thread of the pool has begun, and waits for the rest."""
    for part, done in parts:
        if done.cancel():
            _run(work, part)
        elif done.done():
            done.result()
    for _, done in parts:
        if not done.cancelled():
            done.result()
