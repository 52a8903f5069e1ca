"""The thread pool ends its work before it says that some of it failed."""

import threading
import time

import pytest

from pcsr.runtime.cpu.workers import Workers


def test_an_error_is_raised_when_nothing_runs_any_more() -> None:
    """What the others write into is lent to the next call."""
    workers, running, ended = Workers(2), threading.Event(), list[int]()

    def work(part: slice) -> None:
        if part.start == 0:
            running.wait(10)
            raise ValueError("the first part fails")
        running.set()
        time.sleep(0.2)
        ended.append(part.start)

    with pytest.raises(ValueError, match="the first part fails"):
        workers.over_ranges([slice(i, i + 1) for i in range(50)], work)
    assert 1 in ended
    found = len(ended)
    assert found < 10
    time.sleep(0.5)
    assert len(ended) == found
    workers.close()
