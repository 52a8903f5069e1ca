"""The worker's process as its parent sees it: messages with a patience, and its end."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from tempfile import NamedTemporaryFile
from typing import Any

from pcsr.runtime.profiler.measuring.rounds import reason

MOST_PRINTED = 20_000  # bytes
SPAWN = multiprocessing.get_context("spawn")
Start = dict[str, Any]
Work = Callable[[Connection, Start], None]
"""(pipe to the parent; what the worker is told first): what the process does."""


class WorkerEnded(Exception):
    """Says how the process ended, or that it had to be killed."""


class Link:
    """A link leads to one process. What it prints is kept for the last line: why it ended."""

    def __init__(self, work: Work, start: Start) -> None:
        self._printed = NamedTemporaryFile()  # noqa: SIM115  # lives as long as this
        self._pipe, far_end = SPAWN.Pipe()
        arguments = (work, far_end, start, self._printed.name)
        self._process = SPAWN.Process(target=_begin, args=arguments)
        self._process.start()
        far_end.close()

    def send(self, order: object) -> None:
        """Raises WorkerEnded where nobody is there any more."""
        try:
            self._pipe.send(order)
        except OSError:
            raise WorkerEnded(self._reason()) from None

    def receive(self, patience_s: float) -> dict[str, Any]:
        """Waits for the next message.

        Raises:
            WorkerEnded: the process is gone, or silent for so long.
        """
        try:
            if self._pipe.poll(max(0.01, patience_s)):
                message: dict[str, Any] = self._pipe.recv()
                return message
        except (EOFError, OSError):
            raise WorkerEnded(self._reason()) from None
        self.kill()
        raise WorkerEnded(f"no sign of life for {patience_s:.0f} s: killed")

    def printed(self) -> str:
        """Gives the end of what it has printed."""
        with open(self._printed.name, "rb") as file:
            return file.read()[-MOST_PRINTED:].decode(errors="replace")

    def kill(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.join()

    def _reason(self) -> str:
        self._process.join()
        last = [line for line in self.printed().split("\n") if line.strip()][-1:] or ["no message"]
        return reason(f"the process ended with status {self._process.exitcode}: {last[0]}")


def _begin(work: Work, pipe: Connection, start: Start, printed: str) -> None:
    with open(printed, "ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    work(pipe, start)


def measure_sections(pipe: Connection, start: Start) -> None:
    """Does the work of `worker`. On the CPU kernels are interpreted, which Triton asks for before
    it is imported.
    """
    if start["device"] == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
        from .interpreter import repair

        repair()
    from .worker import serve

    serve(pipe, start)
