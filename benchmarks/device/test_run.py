"""The tests that need a GPU, run beside the fidelity checks."""

import subprocess
import sys
from collections.abc import Callable
from tempfile import TemporaryFile
from time import monotonic
from typing import IO

from benchmarks.environment import ROOT
from benchmarks.records import Record
from pcsr.runtime.profiler.measuring.rounds import reason

COMMAND = ("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--durations=8")


def gpu_test_files() -> list[str]:
    """Lists the files that hold such tests: others import what a GPU machine may lack."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file) for file in files if "mark.gpu" in file.read_text(encoding="utf-8")]


class TestRun:
    """Holds the process of the tests."""

    __test__ = False

    def __init__(
        self, process: "subprocess.Popen[bytes]", printed: IO[bytes], stop_at: float
    ) -> None:
        self._process, self._printed, self._stop_at = process, printed, stop_at
        self._began = monotonic()

    @classmethod
    def start(cls, limit_s: float) -> "TestRun":
        """Starts them; they are killed after limit_s seconds."""
        printed = TemporaryFile()  # noqa: SIM115  # lives as long as the process
        words = [sys.executable, *COMMAND, *gpu_test_files()]
        process = subprocess.Popen(words, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT)
        return cls(process, printed, monotonic() + limit_s)

    def record(self, log: Callable[[str], object]) -> Record:
        """Waits for them, logs what they printed, and makes their record: the last line, and an
        error unless all passed.
        """
        error = None
        try:
            status = self._process.wait(max(0.1, self._stop_at - monotonic()))
            error = f"pytest ended with status {status}" if status else None
        except subprocess.TimeoutExpired:
            self.kill()
            error = "the tests took too long and were ended"
        self._printed.seek(0)
        text = self._printed.read().decode(errors="replace")
        log(f"tests that need a GPU:\n{text}")
        last = reason(text.strip().split("\n")[-1])
        seconds = round(monotonic() - self._began, 1)
        error = error and f"{error}: {last}"
        facts = {"kind": "tests", "ours": True, "error": error}
        return facts | {"summary": last, "seconds": seconds}

    def kill(self) -> None:
        """Ends them."""
        self._process.kill()
        self._process.wait()
