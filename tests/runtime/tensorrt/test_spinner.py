"""Messages while engines are built."""

import io
import sys
import time

import pytest

from pcsr.runtime.tensorrt.spinner import spinner


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_the_time_that_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with spinner() as say:
        say("1/1 network …")
        deadline = time.monotonic() + 20
        while "1 s" not in terminal.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
        say("1/1 network: 1.2 s")
        say("another …")
    text = terminal.getvalue()
    assert "\r\x1b[K1/1 network … 0 s |" in text
    assert "\r\x1b[K1/1 network … 1 s " in text
    assert "\r\x1b[K1/1 network: 1.2 s\n" in text
    assert text.endswith("\r\x1b[K"), "nothing is left on the line"


def test_elsewhere_each_message_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with spinner() as say:
        say("1/1 network …")
        say("1/1 network: 1.2 s")
    assert capsys.readouterr().err == "1/1 network …\n1/1 network: 1.2 s\n"
