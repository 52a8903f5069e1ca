"""Messages on stderr; what is under way counts its seconds on a terminal."""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

PERIOD_S = 0.2
MARKS = "|/-\\"
UNDER_WAY = "…"
CLEAR = "\r\x1b[K"


@contextmanager
def spinner() -> Iterator[Callable[[str], None]]:
    """A function that prints messages. One that ends in `…` is repeated with the time that it has
    taken, on a terminal, until the next message or the end.
    """
    if not sys.stderr.isatty():
        yield lambda message: click.echo(message, err=True)
        return
    current = _Line()
    try:
        yield current.say
    finally:
        current.stop()


class _Line:
    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def say(self, message: str) -> None:
        self.stop()
        if not message.endswith(UNDER_WAY):
            click.echo(message, err=True)
            return
        self._stop = threading.Event()
        self._thread = threading.Thread(target=_spin, args=(message, self._stop), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
            click.echo(CLEAR, err=True, nl=False)


def _spin(message: str, stop: threading.Event) -> None:
    start = time.monotonic()
    for mark in itertools.cycle(MARKS):
        click.echo(f"{CLEAR}{message} {time.monotonic() - start:.0f} s {mark}", err=True, nl=False)
        if stop.wait(PERIOD_S):
            return
