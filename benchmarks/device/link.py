"""The worker's process as its parent sees it: messages with a patience, and its end."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.environment import ROOT
from pcsr.runtime.profiler.measuring.rounds import reason

WORKER = (sys.executable, "-m", "benchmarks.device.worker")
KEPT_LINES = 40


class WorkerEnded(Exception):
    """Says how the process ended, or that it had to be killed."""


class Link:
    """Is one process."""

    def __init__(
        self,
        start: Mapping[str, Any],
        command: Sequence[str] = WORKER,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
        self._messages: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._last_lines: list[str] = []
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._read_messages, self._read_errors)
        ]
        for thread in self._threads:
            thread.start()
        self.send(start)

    def send(self, order: Mapping[str, Any]) -> None:
        """Raises WorkerEnded where nobody is there any more."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerEnded(self._reason()) from None

    def receive(self, patience_s: float) -> dict[str, Any]:
        """Waits for the next message, with None for what is no finite number.

        Raises:
            WorkerEnded: the process is gone, or silent for so long.
        """
        try:
            line = self._messages.get(timeout=max(0.01, patience_s))
        except queue.Empty:
            self.kill()
            raise WorkerEnded(f"no sign of life for {patience_s:.0f} s: killed") from None
        if line is None:
            raise WorkerEnded(self._reason())
        message: dict[str, Any] = json.loads(line, parse_constant=lambda name: None)
        return message

    def kill(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()

    def _reason(self) -> str:
        code = self._process.wait()
        self._threads[1].join(timeout=5)
        last = [line for line in self._last_lines if line.strip()][-1:]
        return reason(f"the process ended with status {code}: {''.join(last) or 'no message'}")

    def _read_messages(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._messages.put(line)
        self._messages.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._last_lines = [*self._last_lines[-KEPT_LINES:], line]
