"""Memory of a contender, measured in a process of its own."""

import json
import signal
import subprocess
import sys
from dataclasses import asdict

from pcsr.text import one_line

from .alone import Footprint, Job
from .environment import ROOT

LONGEST_S = 1800
LONGEST_REASON = 200  # characters


class DidNotFinish(Exception):
    """A contender died, failed or took too long; the message says which, for its row."""


def footprint(job: Job, timeout_s: float = LONGEST_S) -> Footprint:
    """Runs one call in a fresh process.

    Raises:
        DidNotFinish: the process was killed, the engine raised, or it took too long.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.alone"],
            input=json.dumps(asdict(job)),
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DidNotFinish(f"one call takes more than {timeout_s:g} s") from None
    return read_answer(done.returncode, done.stdout, done.stderr)


def read_answer(code: int, stdout: str, stderr: str) -> Footprint:
    """The footprint that a process printed. Raises DidNotFinish where it printed none."""
    if code == -signal.SIGKILL:
        raise DidNotFinish("killed, most likely because memory ran out")
    if code < 0:
        raise DidNotFinish(f"killed by {signal.Signals(-code).name}")
    if code != 0:
        last = stderr.strip().splitlines()[-1:] or ["no message"]
        raise DidNotFinish(f"exit status {code}: {reason(last[0])}")
    answer = json.loads(stdout)
    if "error" in answer:
        raise DidNotFinish(reason(answer["error"]))
    return Footprint(**answer)


def reason(text: str) -> str:
    """One short line."""
    line = one_line(text)
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 1]}…"
