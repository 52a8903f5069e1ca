"""A function in a process of its own; its arguments and its result travel as JSON."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

LONGEST_S = 1800
OOM_SCORE, KILLED_FIRST = Path("/proc/self/oom_score_adj"), "1000"  # the largest


class DidNotFinish(Exception):
    """A process died, failed or took too long."""


def call_alone(
    function: str,
    arguments: Mapping[str, Any],
    timeout_s: float = LONGEST_S,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Any:  # noqa: ANN401
    """Calls a function in a fresh process, for its result.

    function: `module:name`. environment: what is added to the variables of this process. folder:
    where modules lie that are not installed.

    Raises:
        DidNotFinish: the process was killed, the function raised, or it took too long.
    """
    process = start(function, arguments, environment, folder, subprocess.PIPE)
    return result(process, timeout_s)


def start(
    function: str,
    arguments: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stderr: int | None = None,
) -> "subprocess.Popen[str]":
    """Begins the same without waiting. stderr: as of Popen."""
    return subprocess.Popen(
        [sys.executable, "-m", __name__, function, json.dumps(dict(arguments))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=folder,
        env=os.environ | (environment or {}),
    )


def result(process: "subprocess.Popen[str]", timeout_s: float) -> Any:  # noqa: ANN401
    """Waits for the result of a process that `start` began. Raises DidNotFinish."""
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise DidNotFinish(f"it takes more than {timeout_s:g} s") from None
    finally:
        process.kill()  # nothing where it has ended
        process.wait()
    return read_answer(process.returncode, stdout, stderr or "")


def read_answer(code: int, stdout: str, stderr: str) -> Any:  # noqa: ANN401
    """Reads what a process printed as its result. Raises DidNotFinish where it printed none."""
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
    return answer["result"]


def _main(function: str, arguments: str) -> None:
    if OOM_SCORE.exists():  # where memory runs out this process goes, not the one that reports it
        OOM_SCORE.write_text(KILLED_FIRST)
    stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        answer = {"result": resolve_name(function)(**json.loads(arguments))}
    except Exception as error:  # what it raises is a result here
        answer = {"error": f"{type(error).__name__}: {error}"}
    stdout.write(json.dumps(answer) + "\n")
    stdout.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
