"""Messages on stderr: what is under way counts its seconds on a terminal."""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PERIOD_S = 0.2
MARKS = "|/-\\"
UNDER_WAY = "…"
CLEAR = "\r\x1b[K"


@contextmanager
def spinner() -> Iterator[Callable[[str], None]]:
    """Gives a function that prints messages. One that ends in `…` is repeated with the time that it
    has taken, on a terminal, until the next message or the end.
    """
    if not sys.stderr.isatty():
        yield lambda message: _write(f"{message}\n")
        return
    current = _Spinner()
    try:
        yield current.say
    finally:
        current.stop()


class _Spinner:
    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def say(self, message: str) -> None:
        self.stop()
        if not message.endswith(UNDER_WAY):
            _write(f"{message}\n")
            return
        self._stop = threading.Event()
        self._thread = threading.Thread(target=_spin, args=(message, self._stop), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
            _write(CLEAR)


def _spin(message: str, stop: threading.Event) -> None:
    start = time.monotonic()
    for mark in itertools.cycle(MARKS):
        _write(f"{CLEAR}{message} {time.monotonic() - start:.0f} s {mark}")
        if stop.wait(PERIOD_S):
            return


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
