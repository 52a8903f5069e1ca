"""The end of the interpreter waits for what daemon threads compute in C++.

Python stops such a thread where it comes back from C++ (until 3.14), and C++ then aborts the
process. Threads that are not daemons are joined before, and need none of this.
"""

import atexit
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NoReturn

WAIT_S = 60.0
POOLS_CLOSE_S = 10.0


class _Calls:
    """The calls into C++ that daemon threads are in."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.running = 0
        self.closed = False
        self.here = threading.local()


_calls = _Calls()
_NOTHING = nullcontext()


def foreign_call() -> AbstractContextManager[None]:
    """Wraps a call that leaves Python for C++. In a daemon thread, one that would begin while the
    interpreter ends never does: the thread stops here. One within another belongs to that, which
    the end waits for.
    """
    calls = _calls
    if not threading.current_thread().daemon or getattr(calls.here, "is_within", False):
        return _NOTHING
    return _counted(calls)


@contextmanager
def _counted(calls: _Calls) -> Iterator[None]:
    with calls.changed:
        closed = calls.closed
        calls.running += not closed
    if closed:
        _stop_here()
    calls.here.is_within = True
    try:
        yield
    finally:
        calls.here.is_within = False
        with calls.changed:
            calls.running -= 1
            calls.changed.notify_all()


def stop_at_exit(error: Exception) -> None:
    """Lets a daemon thread stop, without a word, where it fails because the interpreter ends: pools
    of threads are closed just before the main thread is.
    """
    main, deadline = threading.main_thread(), time.monotonic() + POOLS_CLOSE_S
    if threading.current_thread().daemon and "cannot schedule new futures" in str(error):
        while main.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        if not main.is_alive():
            _stop_here()


def _stop_here() -> NoReturn:
    """Waits for the end of the process."""
    while True:
        threading.Event().wait()


def _close() -> None:
    with _calls.changed:
        _calls.closed = True
        _calls.changed.wait_for(lambda: _calls.running == 0, WAIT_S)


def _forget() -> None:
    """In a forked process there are no other threads."""
    global _calls
    _calls = _Calls()


atexit.register(_close)
os.register_at_fork(after_in_child=_forget)
