"""Reading and writing overlap the computation: two threads, one item ahead and one behind. Several
devices compute in a thread each.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

Item = TypeVar("Item")
Written = TypeVar("Written")
Device = TypeVar("Device")
Made = TypeVar("Made")
AHEAD = 2  # items per device that are begun or wait to be yielded, so that a slow one holds none up
_END: Any = object()


class Transfer:
    """What happens to a file before it is read and after it is written: nothing.

    The thread that reads, or the one that writes, calls it. A PcsrError is that of the file.
    """

    def fetch(self, job: Any) -> None:  # noqa: ANN401
        """Gets the source of a job to where it is read."""

    def deliver(self, job: Any, stats: Any) -> None:  # noqa: ANN401
        """Sends the target of a job, whose figures are known, to where it belongs."""


def read_ahead(items: Iterable[Item]) -> Generator[Item]:
    """Yields the same items, each made by another thread while the one before it is in use.

    The first is made by the calling thread: nothing runs beside it. Leaving waits for the item that
    is being made.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, "pcsr-read") as thread:
        item = next(iterator, _END)
        while item is not _END:
            coming = thread.submit(next, iterator, _END)
            yield item
            item = coming.result()


def write_behind(
    items: Iterable[Item], write: Callable[[Item], Written], count: int | None = None
) -> Generator[Written]:
    """Yields `write(item)` of each in order, from another thread while the next item is made.

    The last, where `count` is known, is written by the calling thread, so that Ctrl-C stops it.
    What the other thread has begun is always finished; after Ctrl-C it is yielded before the
    KeyboardInterrupt is raised.
    """
    writing: Future[Written] | None = None
    with ThreadPoolExecutor(1, "pcsr-write") as thread:
        try:
            for number, item in enumerate(items, start=1):
                if writing is not None:
                    done, writing = writing.result(), None
                    yield done
                if number == count:
                    yield write(item)
                else:
                    writing = thread.submit(write, item)
                del item  # large; the next is being made
            if writing is not None:
                done, writing = writing.result(), None
                yield done
        except KeyboardInterrupt:
            if writing is not None:
                yield writing.result()
            raise


def side_by_side(
    items: Iterable[Item],
    make: Callable[[Device, Item], Made],
    devices: Sequence[Device],
    stopped: threading.Event,
) -> Generator[Made]:
    """Yields `make(device, item)` of each item in order; each is made on the device that is free.
    A single device works in the calling thread.

    Leaving early, as by Ctrl-C, sets `stopped` and waits for what has begun: `make` may look at it
    and raise.
    """
    if len(devices) == 1:
        yield from map(partial(make, devices[0]), items)
        return
    free: SimpleQueue[Device] = SimpleQueue()
    for device in devices:
        free.put(device)

    def make_one(item: Item) -> Made:
        device = free.get()
        try:
            return make(device, item)
        finally:
            free.put(device)

    pending: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(len(devices), "pcsr-device") as threads:
        try:
            for item in items:
                pending.append(threads.submit(make_one, item))
                del item  # large
                if len(pending) == AHEAD * len(devices):
                    yield _first(pending)
            while pending:
                yield _first(pending)
        finally:
            if pending:
                stopped.set()
            threads.shutdown(cancel_futures=True)


def _first(pending: deque[Future[Made]]) -> Made:
    made = pending[0].result()  # it stays among the others where this is interrupted
    pending.popleft()
    return made
