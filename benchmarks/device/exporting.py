"""The networks of one model, exported in a process of its own, so that all models are at once."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.engines import Files
from benchmarks.environment import ROOT
from benchmarks.memory import reason

Say = Callable[[str], object]


@dataclass(frozen=True)
class Prepared:
    """One model, ready to be run, or the error why it is not. precisions: that its bundles have.

    weights: names of the checkpoints. problems: precisions that could not be exported, and why.
    """

    files: Files | None
    precisions: Sequence[str] = ()
    weights: Sequence[str] = ()
    is_trained: bool = False
    problems: Sequence[str] = ()


def prepare(
    models: Sequence[str],
    precisions: Sequence[str],
    checkpoints: Path,
    cache: Path,
    timeout_s: float,
    say: Say,
) -> dict[str, Prepared]:
    """Exports all models, each in its process. One that fails or takes too long has no files."""
    order = {"checkpoints": str(checkpoints), "cache": str(cache), "precisions": list(precisions)}
    running = {}
    for number, model in enumerate(models):
        say(f"{model}: networks …")
        running[model] = _start(order | {"model": model, "share": [number, len(models)]})
    stop_at = time.monotonic() + timeout_s
    return {
        model: _finish(process, max(1.0, stop_at - time.monotonic()))
        for model, process in running.items()
    }


def _start(order: Mapping[str, Any]) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.device.exporting"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(order))
    process.stdin.close()
    process.stdin = None
    return process


def _finish(process: "subprocess.Popen[str]", timeout_s: float) -> Prepared:
    try:
        out, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return Prepared(None, problems=(f"exporting takes more than {timeout_s:.0f} s",))
    lines = out.strip().splitlines()
    if process.returncode != 0 or not lines:
        return Prepared(None, problems=(f"exporting ended with status {process.returncode}",))
    answer = json.loads(lines[-1])
    files = answer.pop("files")
    return Prepared(Files(**files) if files else None, **answer)


def export(order: Mapping[str, Any], say: Say) -> Prepared:
    """Finds or makes the networks; without a precision where that does not pass verification."""
    from benchmarks.networks import find_networks
    from pcsr.errors import PcsrError

    problems: list[str] = []
    wanted = tuple(dict.fromkeys(("fp32", *order["precisions"])))
    folders = (Path(order["checkpoints"]), Path(order["cache"]))
    for precisions in dict.fromkeys((wanted, ("fp32",))):
        try:
            found = find_networks(order["model"], *folders, say, precisions)
        except PcsrError as error:
            problems.append(reason(f"{', '.join(precisions)}: {type(error).__name__}: {error}"))
            continue
        weights = (found.pcsr_weights, found.plain_weights)
        return Prepared(found.files, precisions, weights, found.is_trained, problems)
    return Prepared(None, problems=problems)


def main() -> None:
    """An order on stdin, what was prepared on stdout, both JSON."""
    order = json.load(sys.stdin)
    _take_cores(*order["share"])
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer

    def say(text: str) -> None:
        sys.stderr.write(f"{order['model']}: {text}\n")

    try:
        prepared = export(order, say)
    except Exception as error:  # torch's exporter raises many kinds
        prepared = Prepared(None, problems=(reason(f"{type(error).__name__}: {error}"),))
    answer.write(json.dumps(asdict(prepared)) + "\n")
    answer.flush()


def _take_cores(number: int, of: int) -> None:
    """Holds this process to its share of the cores: thread pools that share them wait in turns."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number::of] or cores)


if __name__ == "__main__":
    main()
