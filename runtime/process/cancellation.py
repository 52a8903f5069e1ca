"""Calls that end early: somebody cancels them, or their time is over."""

import math
import numbers
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pcsr.errors import CancelledError, UsageError

POLL_S = 0.01
TOO_EARLY = "before the image was finished"


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
            Server. It is asked about every 10 ms, from any thread. What it raises, the call raises.

    Raises:
        UsageError: an argument of another kind.
    """

    def __init__(
        self, timeout_s: float | None = None, asked: Callable[[], bool] | None = None
    ) -> None:
        _check(timeout_s, asked)
        self._timeout = "" if timeout_s is None else _duration(timeout_s)
        self._deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self._asked, self._ask_at_s = asked, 0.0
        self._reason: str | Exception | None = None

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
            reason = self._reason
            raise reason if isinstance(reason, Exception) else CancelledError(reason)

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
            if asked():
                self.cancel()
        except Exception as error:  # the caller's own, which may have come in `watched`'s thread
            self._reason = error

    @contextmanager
    def watched(self, stop: Callable[[], None]) -> Iterator[None]:
        """Calls `stop` once, from another thread, if it is over while the body runs."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(POLL_S):
                if self.is_over:
                    stop()
                    return

        watcher = threading.Thread(target=watch, name="pcsr-cancellation", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


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


def _check(timeout_s: object, asked: object) -> None:
    is_number = isinstance(timeout_s, numbers.Real) and not isinstance(timeout_s, bool)
    if timeout_s is not None and not (is_number and 0 <= float(timeout_s) < math.inf):  # type: ignore[arg-type]
        raise UsageError(
            f"timeout_s must be a number of seconds from 0 on, or None, found {timeout_s!r}"
        )
    if asked is not None and not callable(asked):
        raise UsageError(f"asked must be a function without arguments, found {asked!r}")
