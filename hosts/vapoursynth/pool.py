"""The open bundles that compute a clip's frames."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pcsr.runtime.upscaler import Upscaler


class Shared:
    """One for all frames: a device's, and those whose times a budget counts on."""

    def __init__(self, upscaler: Upscaler) -> None:
        self._upscaler = upscaler

    @contextmanager
    def lent(self) -> Iterator[Upscaler]:
        """Lends it to the body."""
        yield self._upscaler


class PerFrame:
    """One for each frame that is computed at the same time, opened when it is first needed.

    The calls of one Upscaler share its threads, so frames at once would be slower than one after
    the other. Here a frame alone has all cores, and of n at once each has an n-th of them.

    Args:
        first: one that is open.
        opened: opens another with so many threads.
        threads: gives those of a frame, by how many frames are computed.
    """

    def __init__(
        self, first: Upscaler, opened: Callable[[int], Upscaler], threads: Callable[[int], int]
    ) -> None:
        self._opened, self._threads = opened, threads
        self._idle: dict[int, list[Upscaler]] = defaultdict(list)
        self._idle[threads(1)].append(first)
        self._lock, self._busy = threading.Lock(), 0

    @contextmanager
    def lent(self) -> Iterator[Upscaler]:
        """Lends one that nobody else has to the body."""
        with self._lock:
            self._busy += 1
            threads = self._threads(self._busy)
            idle = self._idle[threads]
            upscaler = idle.pop() if idle else None
        try:
            if upscaler is None:
                upscaler = self._opened(threads)
            yield upscaler
        finally:
            with self._lock:
                self._busy -= 1
                if upscaler is not None:
                    idle.append(upscaler)


def share_of_cores(cores: int) -> Callable[[int], int]:
    """Gives the threads of a frame by how many are computed: the cores, halved until all have
    theirs, so that few different counts are opened.

    Examples:
        >>> [share_of_cores(12)(frames) for frames in (1, 2, 3, 4, 5, 12, 40)]
        [12, 6, 3, 3, 1, 1, 1]
    """

    def threads(frames: int) -> int:
        count = cores
        while count > 1 and count * frames > cores:
            count //= 2
        return count

    return threads
