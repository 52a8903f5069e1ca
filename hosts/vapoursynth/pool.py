"""The sequences that compute a clip's frames."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pcsr.runtime.sequence.frames import FrameSequence


class Shared:
    """One Upscaler for all frames: a device's, and those whose times a budget counts on. Each frame
    that is computed at the same time has a sequence of its own.

    Args:
        opened: makes a sequence.
    """

    def __init__(self, opened: Callable[[], FrameSequence]) -> None:
        self._opened = opened
        self._idle: list[FrameSequence] = []

    @contextmanager
    def lent(self) -> Iterator[FrameSequence]:
        """Lends the one that nobody else has and that was used last to the body."""
        try:
            frames = self._idle.pop()
        except IndexError:
            frames = self._opened()
        try:
            yield frames
        finally:
            self._idle.append(frames)


class PerFrame:
    """A sequence of an Upscaler of its own for each frame that is computed at the same time, opened
    when it is first needed.

    The calls of one Upscaler share its threads, so frames at once would be slower than one after
    the other. Here a frame alone has all cores, and of n at once each has an n-th of them.

    Args:
        first: one that is open.
        opened: opens another with so many threads.
        threads: gives those of a frame, by how many frames are computed.
    """

    def __init__(
        self,
        first: FrameSequence,
        opened: Callable[[int], FrameSequence],
        threads: Callable[[int], int],
    ) -> None:
        self._opened, self._threads = opened, threads
        self._idle: dict[int, list[FrameSequence]] = defaultdict(list)
        self._idle[threads(1)].append(first)
        self._lock, self._busy = threading.Lock(), 0

    @contextmanager
    def lent(self) -> Iterator[FrameSequence]:
        """Lends one that nobody else has to the body."""
        with self._lock:
            self._busy += 1
            threads = self._threads(self._busy)
            idle = self._idle[threads]
            frames = idle.pop() if idle else None
        try:
            if frames is None:
                frames = self._opened(threads)
            yield frames
        finally:
            with self._lock:
                self._busy -= 1
                if frames is not None:
                    idle.append(frames)


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
