"""A thread pool over chunks of pixels and strips of rows."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from pcsr.errors import ImageError
from pcsr.interrupts import interrupts_deferred
from pcsr.runtime.shutdown import stops_at_exit

PIXELS_PER_CHUNK = 8192
PIXELS_PER_STRIP = 65536
NO_THREAD = "can't start new thread"
Work = Callable[[slice], None]


class Workers:
    """Runs work over consecutive ranges on all threads; NumPy and ONNX Runtime release the GIL."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pcsr")

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

    @stops_at_exit()
    def over_ranges(self, ranges: Iterable[slice], work: Work) -> None:
        """Runs over ranges of the caller's choice. Where one of them fails, those that have not
        begun never do, and the others have ended when the error is raised.

        Raises:
            ImageError: the system starts no thread.
        """
        parts: list[Future[None]] = []
        try:
            with interrupts_deferred():  # the end would wait for ever for a thread half started
                for part in ranges:
                    parts.append(self._pool.submit(work, part))
            for done in parts:
                done.result()
        except RuntimeError as error:  # Python has no class of its own for this
            if NO_THREAD not in str(error):
                raise
            raise ImageError(
                f"the system starts no thread ({error}); pass fewer threads, or raise the limit of "
                "memory or processes (ulimit -v, ulimit -u)"
            ) from error
        finally:  # what they write into is lent to others next
            wait([part for part in parts if not part.cancel()])
