"""Interrupts (Ctrl-C) wait while foreign code runs that calls back into Python."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Keeps Ctrl-C until the body has ended, then raises KeyboardInterrupt.

    libvips logs through a Python callback, where an exception is printed and lost: an interrupt
    that arrives there would never stop the program.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived = []

    def remember(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if arrived:
        raise KeyboardInterrupt
