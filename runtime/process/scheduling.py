"""How the system schedules this process's threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Gives this thread, and those that begin in the body, the scheduling that this one had.

    For root SVT-AV1 puts the thread that opens it, and its own, into SCHED_FIFO at the highest
    priority: from then on nothing else gets a core while they, or any process that they start,
    want one.
    """
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    policy, parameters, before = os.sched_getscheduler(0), os.sched_getparam(0), _threads()
    try:
        yield
    finally:
        for thread in {0} | (_threads() - before):
            with suppress(ProcessLookupError):  # it has ended
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, parameters)


def _threads() -> set[int]:
    return {int(each.name) for each in _TASKS.iterdir()} if _TASKS.is_dir() else set()
