"""Reading and writing overlap the computation: two threads, one item ahead and one behind."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Written = TypeVar("Written")
_END: Any = object()


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
