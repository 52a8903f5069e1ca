"""How long something stays open: until it is closed and its last user has ended, and not in a
forked child, which opens its own.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

from pcsr.errors import UsageError


class Closable(Protocol):
    """Something that holds threads and memory."""

    def close(self) -> None:
        """Ends its threads and gives back its memory; nobody uses it any more."""


Held = TypeVar("Held", bound=Closable)


class Lifetime(Generic[Held]):
    """Keeps what `make` gives open for any number of threads.

    A process that is forked inherits the memory of thread pools, but none of their threads: what
    was open there waits for ever. So the child opens its own when it is first used.
    """

    def __init__(self, make: Callable[[], Held]) -> None:
        self._make = make
        self._held: Held | None = make()
        self._users, self._is_closed = 0, False
        self._lock = threading.Lock()
        _all().add(self)

    @property
    def is_closed(self) -> bool:
        """Tells whether it may not be used any more."""
        return self._is_closed

    def used(self) -> AbstractContextManager[Held]:
        """Lends it to the body, and opens it first in a forked child.

        Raises:
            UsageError: it is closed.
        """
        return _Use(self._begin, self._end)

    def _begin(self) -> Held:
        with self._lock:
            if self._is_closed:
                raise UsageError("this Upscaler is closed; open the bundle again")
            if self._held is None:
                self._held = self._make()
            self._users += 1
            return self._held

    def close(self) -> None:
        """Refuses new users, and gives all back once those at it have ended; it does not wait."""
        with self._lock:
            self._is_closed = True
            self._give_back_unused()

    def _end(self, held: Held) -> None:
        with self._lock:
            if held is self._held:  # else a fork took it away meanwhile
                self._users -= 1
                self._give_back_unused()

    def _give_back_unused(self) -> None:
        if self._is_closed and self._users == 0 and self._held is not None:
            held, self._held = self._held, None
            held.close()

    def _forget_in_child(self) -> None:
        """Leaves what the parent opened where it is: to free it, the child would join threads that
        are not there, at its exit at the latest.
        """
        self._lock = threading.Lock()
        self._users = 0
        if self._held is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._held))
            self._held = None


class _Use(AbstractContextManager[Held]):
    """Lends what `begin` gives, and tells `end` when the body has ended. Every call is in one: a
    generator would take longer.
    """

    __slots__ = ("_begin", "_end", "_held")

    def __init__(self, begin: Callable[[], Held], end: Callable[[Held], None]) -> None:
        self._begin, self._end = begin, end

    def __enter__(self) -> Held:
        self._held = self._begin()
        return self._held

    def __exit__(self, *_: object) -> None:
        self._end(self._held)


@cache
def _all() -> "WeakSet[Lifetime[Any]]":
    """Gives all that live, whom a forked child tells what happened."""
    living: WeakSet[Lifetime[Any]] = WeakSet()

    def forked() -> None:
        for one in list(living):
            one._forget_in_child()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forked)
    return living
