"""Reading and writing overlap the computation: a thread for each, one item ahead and one behind, or
more beside a GPU. Several devices compute in a thread each.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from pcsr.runtime.machine import usable_cores

Item = TypeVar("Item")
Written = TypeVar("Written")
Device = TypeVar("Device")
Made = TypeVar("Made")
AHEAD = 2  # items per device that are begun or wait to be yielded, so that a slow one holds none up
MOST_THREADS = 8  # that read, and that write: each holds an image
_END: Any = object()


def io_threads(device: str, threads: int | None = None, devices: int = 1) -> int:
    """Counts the threads that read, and those that write, beside what computes: one on the CPU,
    which computes itself; for GPUs a device's share of the cores, as encoding takes longer there.

    Args:
        device: as `Upscaler` takes it.
        threads: how many there are to share; None takes the cores that the process may use.
        devices: how many compute.
    """
    if device == "cpu":
        return 1
    return max(1, min(MOST_THREADS, (threads or usable_cores()) // devices)) * devices


class Transfer:
    """What happens to a file before it is read and after it is written: nothing.

    The threads that read, or those that write, call it. A PcsrError is that of the file.
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


def map_ahead(
    work: Callable[[Item], Made], items: Iterable[Item], threads: int = 1
) -> Generator[Made]:
    """Yields `work(item)` of each in order, made by other threads while the ones before are in use:
    one ahead, as `read_ahead`, or as many as there are threads.
    """
    if threads == 1:
        yield from read_ahead(map(work, items))
        return
    coming: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads, "pcsr-read") as pool:
        try:
            for item in items:
                coming.append(pool.submit(work, item))
                if len(coming) > threads:
                    yield _first(coming)
            while coming:
                yield _first(coming)
        finally:
            pool.shutdown(cancel_futures=True)


def write_behind(
    items: Iterable[Item],
    write: Callable[[Item], Written],
    count: int | None = None,
    threads: int = 1,
) -> Generator[Written]:
    """Yields `write(item)` of each in order, from other threads while the next items are made.

    The last, where `count` is known, is written by the calling thread, so that Ctrl-C stops it.
    What the other threads have begun is always finished; after Ctrl-C it is yielded before the
    KeyboardInterrupt is raised.
    """
    writing: deque[Future[Written]] = deque()
    with ThreadPoolExecutor(threads, "pcsr-write") as pool:
        try:
            for number, item in enumerate(items, start=1):
                while len(writing) == threads or (writing and number == count):
                    yield _first(writing)
                if number == count:
                    yield write(item)
                else:
                    writing.append(pool.submit(write, item))
                del item  # large; the next is being made
            while writing:
                yield _first(writing)
        except KeyboardInterrupt:
            while writing:
                yield _first(writing)
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
