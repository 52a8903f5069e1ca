"""Calls that end early: somebody cancels them, or their time is over."""

import _thread
import copy
import inspect
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from pcsr.errors import CancelledError, UsageError
from pcsr.runtime.inputs.arguments import Argument, checked, number

POLL_S = 0.01
TOO_EARLY = "before the image was finished"
NOT_ASYNC = "asked must be a function that answers at once, found one that gives an awaitable"


def _function(asked: Any) -> Callable[[], bool]:  # noqa: ANN401
    if not callable(asked):
        raise TypeError
    if any(map(inspect.iscoroutinefunction, (asked, type(asked).__call__))):
        raise UsageError(NOT_ASYNC)
    function: Callable[[], bool] = asked
    return function


ARGUMENTS = {
    "timeout_s": number(
        "be a number of seconds from 0 on, or None", lambda s: 0 <= s < math.inf, optional=True
    ),
    "asked": Argument("be a function without arguments", _function, optional=True),
}


class Cancellation:
    """Ends calls of an `Upscaler` early, as many as it is given to, with a `CancelledError`.

    Examples:
        >>> from pcsr import Cancellation, CancelledError, Upscaler
        >>> try:
        ...     Upscaler("carn-pcsr/")(photo, cancellation=Cancellation(timeout_s=0))
        ... except CancelledError as error:
        ...     print(error)
        the deadline of 0 s has passed before the image was finished

    Args:
        timeout_s: seconds from now, after which calls end; None: no such limit.
        asked: says whether to end, as `is_cancelled` of a response sender of Triton Inference
            Server. It is asked about every 10 ms, from any thread, at times from two at once; a
            call waits for its answer. What it raises, the call raises.

    Raises:
        UsageError: an argument of another kind.
    """

    def __init__(
        self, timeout_s: float | None = None, asked: Callable[[], bool] | None = None
    ) -> None:
        given = checked({"timeout_s": timeout_s, "asked": asked}, ARGUMENTS)
        seconds: float = math.inf if timeout_s is None else given["timeout_s"]
        self._timeout, self._deadline_s = _duration(seconds), time.monotonic() + seconds
        self._asked, self._ask_at_s = asked, 0.0
        self._reason: str | BaseException | None = None

    # No lock: a signal handler may come while this thread holds it.

    def cancel(self) -> None:
        """Ends the calls soon. Any thread and any signal handler may do so, any number of times."""
        if self._reason is None:
            self._reason = f"cancelled {TOO_EARLY}"

    def check(self) -> None:
        """Does nothing while calls may go on.

        Raises:
            CancelledError: it was cancelled, or the deadline has passed.
        """
        if self.is_over:
            raise self._error()

    @property
    def is_over(self) -> bool:
        """Tells whether calls are to end; once they are, it stays so."""
        if self._reason is None:
            now_s = time.monotonic()
            if now_s >= self._deadline_s:
                self._reason = f"the deadline of {self._timeout} has passed {TOO_EARLY}"
            elif self._asked is not None and now_s >= self._ask_at_s:
                self._ask_at_s = now_s + POLL_S
                self._ask(self._asked)
        return self._reason is not None

    def _ask(self, asked: Callable[[], bool]) -> None:
        try:
            answer = asked()
            if inspect.isawaitable(answer):
                getattr(answer, "close", bool)()  # a coroutine warns where nobody awaits it
                raise UsageError(NOT_ASYNC)
            if answer:
                self.cancel()
        except StopIteration as error:  # it would end the loops that it passes through
            self._reason = RuntimeError("asked raised StopIteration")
            self._reason.__cause__ = error
        except BaseException as error:  # the caller's own, which may come in `watched`'s thread
            self._reason = error

    def _error(self) -> BaseException:
        """Gives what a call raises. It holds the call's arrays as long as it lives, so that only a
        copy is kept for other calls.
        """
        reason = self._reason
        if not isinstance(reason, BaseException):
            return CancelledError(reason)
        self._reason = _copied(reason)
        return reason

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Cancellation cannot be pickled or copied: another process would not hear of it; "
            "make one there"
        )

    @contextmanager
    def watched(self, stop: Callable[[], None]) -> Iterator[None]:
        """Calls `stop` once, from another thread, if it is over while the body runs."""
        # A Thread and an Event have Python code, which breaks where a signal handler leaves it.
        running, watching, is_watched = threading.Lock(), threading.Lock(), False

        def watch() -> None:
            try:
                while not running.acquire(timeout=POLL_S):
                    if self.is_over:
                        stop()
                        return
            finally:
                watching.release()

        running.acquire()
        watching.acquire()
        try:
            _thread.start_new_thread(watch, ())
            is_watched = True
            yield
        finally:
            running.release()
            if is_watched:
                watching.acquire()


def _duration(seconds: float) -> str:
    """Writes a deadline as people read it."""
    if seconds == 0 or seconds >= 1e-3:
        return f"{seconds:g} s"
    return f"{1e3 * seconds:.3f} ms" if seconds >= 1e-6 else "less than 0.001 ms"


@contextmanager
def locked(lock: threading.Lock, cancellation: Cancellation | None) -> Iterator[None]:
    """Holds a lock in the body; a call that is cancelled waits for it no longer."""
    if cancellation is None:
        with lock:
            yield
        return
    while not lock.acquire(timeout=POLL_S):
        cancellation.check()
    try:
        yield
    finally:
        lock.release()


def _copied(error: BaseException) -> BaseException:
    """Copies an error without its traceback, whose frames hold all that they had in memory."""
    try:
        copied = copy.copy(error)
    except Exception:  # whatever a foreign class raises
        copied = error
    if type(copied) is not type(error):
        copied = error
    return copied.with_traceback(None)
