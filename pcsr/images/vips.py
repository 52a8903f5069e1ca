"""Calls of libvips, whose messages may hold any bytes of a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyvips

from pcsr.interrupts import interrupts_deferred


@contextmanager
def vips_calls() -> Iterator[None]:
    """Surrounds calls of libvips: Ctrl-C waits, and messages that are no UTF-8 are taken.

    pyvips decodes messages strictly: one of other bytes would end in a trace on stderr, and stay in
    libvips's buffer, where it would fail all calls that follow.
    """
    for module in (pyvips, pyvips.error):
        module._to_string = _to_string
    with interrupts_deferred():
        yield


def _to_string(text: Any) -> str:  # noqa: ANN401
    if text == pyvips.ffi.NULL:
        return "NULL"
    found: bytes | str = pyvips.ffi.string(text)
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else found
