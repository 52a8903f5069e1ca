"""The first use of a caller in a process of its own: opening it, one call, and the memory of a
process that does nothing else. The request comes on stdin, the figures go to stdout, both JSON.
"""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pcsr.metrics import Pixels
from pcsr.runtime.machine import peak_resident_mib, resident_mib

from .calls import Caller, Options, timed

LONGEST_S = 1800
KILLED_FIRST = "1000"  # the largest oom_score_adj


@dataclass(frozen=True)
class FirstUse:
    """What a first use took; None where nobody looked or the system does not say."""

    first_ms: float
    """The first call."""
    open_ms: float | None = None
    """Opening the caller, imports included."""
    loaded_mib: float | None = None
    """Memory of the process before the call, all imported and read."""
    peak_mib: float | None = None
    """The most memory until the call's end: resident, or what the call allocated on a device."""
    held_mib: float | None = None
    """Memory of a device that the caller kept after its warm-up."""
    threshold: float | None = None
    """The difficulty above which pixels were heavy."""


class DidNotFinish(Exception):
    """A process of its own died, failed or took too long; the message says which."""


def first_use(
    opener: str,
    arguments: Mapping[str, Any],
    image: Pixels,
    options: Options,
    timeout_s: float = LONGEST_S,
    folder: Path | None = None,
) -> FirstUse:
    """Opens a caller in a fresh process and calls it once.

    opener: `module:function`, which makes the caller from the arguments (JSON values). folder:
    where modules lie that are not installed.

    Raises:
        DidNotFinish: the process was killed, something raised, or it took too long.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "image.npy"
        np.save(file, image)
        request = {"opener": opener, "arguments": dict(arguments), "image": str(file)}
        try:
            done = subprocess.run(
                [sys.executable, "-m", __name__],
                input=json.dumps(request | {"options": dict(options)}),
                capture_output=True,
                text=True,
                cwd=folder,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DidNotFinish(f"one call takes more than {timeout_s:g} s") from None
    return read_answer(done.returncode, done.stdout, done.stderr)


def read_answer(code: int, stdout: str, stderr: str) -> FirstUse:
    """The figures that a process printed. Raises DidNotFinish where it printed none."""
    if code == -signal.SIGKILL:
        raise DidNotFinish("killed, most likely because memory ran out")
    if code < 0:
        raise DidNotFinish(f"killed by {signal.Signals(-code).name}")
    if code != 0:
        last = stderr.strip().splitlines()[-1:] or ["no message"]
        raise DidNotFinish(f"exit status {code}: {last[0]}")
    answer = json.loads(stdout)
    if "error" in answer:
        raise DidNotFinish(answer["error"])
    return FirstUse(**answer)


def _measured(opener: str, arguments: dict[str, Any], image: str, options: Options) -> FirstUse:
    pixels: Pixels = np.load(image)

    def opened() -> Caller:
        module, _, function = opener.partition(":")
        caller: Caller = getattr(import_module(module), function)(**arguments)
        return caller

    open_ms, caller = timed(opened)
    loaded_mib = resident_mib()
    first_ms, answer = timed(lambda: caller(pixels, options))
    peak_mib = peak_resident_mib()
    threshold = answer.details().threshold
    return FirstUse(first_ms, open_ms, loaded_mib, peak_mib, threshold=threshold)


def _be_killed_first() -> None:
    """Where memory runs out, this process goes and not the one that reports it."""
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text(KILLED_FIRST)


def _main() -> None:
    """Prints the figures, or {"error": …}: what a caller raises is a result here."""
    _be_killed_first()
    request = json.load(sys.stdin)
    try:
        answer = asdict(_measured(**request))
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    _main()
