"""Starts worker processes, and sees which cases kill them, hang, or take too much memory."""

import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import sanitized

ROOT = Path(__file__).parents[2]
LONGEST_S = 60.0
"""For one case, the imports of the process's first one too."""
MOST_RESIDENT = 4 * 2**30


@dataclass
class Tally:
    """Counts how cases ended."""

    counts: Counter[str] = field(default_factory=Counter)
    """`refused` in one line, `ran`, `failed`."""
    failures: dict[int, str] = field(default_factory=dict)
    """What went wrong, by the number of the case."""

    def add(self, number: int, outcome: str) -> None:
        """Adds one case."""
        kind = outcome if outcome in ("refused", "ran") else "failed"
        self.counts[kind] += 1
        if kind == "failed":
            self.failures[number] = outcome


def run(form: str, originals: Path, numbers: range, library: Path | None = None) -> Tally:
    """Runs the cases with these numbers; `library` holds sanitized passes."""
    tally, number = Tally(), numbers.start
    while number < numbers.stop:
        number = _until_it_dies(form, originals, range(number, numbers.stop), library, tally)
    return tally


def _until_it_dies(
    form: str, originals: Path, numbers: range, library: Path | None, tally: Tally
) -> int:
    """Runs a worker until it ends, and returns the first number that is still to do."""
    command = [sys.executable, "-m", "tests.fuzz.worker", form, str(originals)]
    command += [str(numbers.start), str(numbers.stop), *([str(library)] if library else [])]
    with tempfile.TemporaryFile("w+") as errors:
        worker = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=_environment(library),
        )
        current, why = _watch(worker, tally)
        if why:
            worker.kill()
        code = worker.wait()
        if current is None:
            if code != 0:
                raise RuntimeError(f"the worker did not start: {_last_lines(errors)}")
            return numbers.stop
        tally.add(current, why or f"died with {code}: {_last_lines(errors)}")
        return current + 1


def _watch(worker: "subprocess.Popen[str]", tally: Tally) -> tuple[int | None, str]:
    """Returns the case that was running when the worker stopped, and why it was stopped."""
    assert worker.stdout is not None
    current, since = None, time.monotonic()
    os.set_blocking(worker.stdout.fileno(), False)
    pending = ""
    with selectors.DefaultSelector() as selector:
        selector.register(worker.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=0.1):
                read = os.read(worker.stdout.fileno(), 65536).decode()
                if not read:
                    return current, ""
                *lines, pending = (pending + read).split("\n")
                for line in lines:
                    word, number, *rest = line.split(" ", 2)
                    since, current = time.monotonic(), int(number) if word == "begin" else None
                    if word == "end":
                        tally.add(int(number), rest[0])
            if time.monotonic() - since > LONGEST_S:
                return current, f"hung for {LONGEST_S:.0f} s"
            if _resident(worker.pid) > MOST_RESIDENT:
                return current, "took more than 4 GiB"


def _environment(library: Path | None) -> Mapping[str, str]:
    own = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return os.environ | own | (sanitized.environment() if library else {})


def _resident(process: int) -> int:
    try:
        fields = Path(f"/proc/{process}/statm").read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0


def _last_lines(errors: object) -> str:
    errors.seek(0)  # type: ignore[attr-defined]
    text: str = errors.read()  # type: ignore[attr-defined]
    wanted = [line for line in text.splitlines() if "ERROR" in line or "runtime error" in line]
    return " ".join(wanted[:2] or text.splitlines()[-3:])[:400]
