"""A thread pool over chunks of pixels and strips of rows."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

PIXELS_PER_CHUNK = 8192
PIXELS_PER_STRIP = 65536


class Workers:
    """Runs `work(start, stop)` over consecutive ranges on all threads; NumPy and ONNX Runtime
    release the GIL.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pcsr")

    def over_pixels(self, count: int, work: Callable[[int, int], None]) -> None:
        """Runs over chunks of a list of `count` pixels."""
        self._over(count, PIXELS_PER_CHUNK, work)

    def over_rows(self, size: tuple[int, ...], work: Callable[[int, int], None]) -> None:
        """Runs over strips of whole rows of an image of `size` (height, width)."""
        self._over(size[0], max(1, PIXELS_PER_STRIP // size[1]), work)

    def over_ranges(
        self, ranges: Iterable[tuple[int, int]], work: Callable[[int, int], None]
    ) -> None:
        """Runs over ranges of the caller's choice."""
        for _ in self._pool.map(lambda part: work(*part), ranges):
            pass

    def _over(self, count: int, step: int, work: Callable[[int, int], None]) -> None:
        self.over_ranges(
            ((start, min(start + step, count)) for start in range(0, count, step)), work
        )
