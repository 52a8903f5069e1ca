"""The networks of one model, exported in a process of its own, so that all models are at once."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.environment import ROOT
from benchmarks.records import Record
from pcsr.runtime.profiler.measuring.process import DidNotFinish, result, start
from pcsr.runtime.profiler.measuring.rounds import reason

NOTHING: Record = {"files": None, "precisions": [], "weights": [], "is_trained": False}


def export_models(
    models: Sequence[str],
    precisions: Sequence[str],
    checkpoints: Path,
    cache: Path,
    timeout_s: float,
    say: Callable[[str], object],
) -> dict[str, Record]:
    """Exports all models, each in its process. One that fails or takes too long has no files."""
    order = {"checkpoints": str(checkpoints), "cache": str(cache), "precisions": list(precisions)}
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    running = {}
    for number, model in enumerate(models):
        say(f"{model}: networks …")
        arguments = order | {"model": model, "share": [number, len(models)]}
        running[model] = start(f"{__name__}:export", arguments, hidden, ROOT)
    stop_at = monotonic() + timeout_s
    exported = {}
    for model, process in running.items():
        try:
            exported[model] = result(process, max(1.0, stop_at - monotonic()))
        except DidNotFinish as why:
            exported[model] = NOTHING | {"problems": [reason(f"exporting: {why}")]}
    return exported


def export(
    model: str, precisions: Sequence[str], checkpoints: str, cache: str, share: tuple[int, int]
) -> dict[str, Any]:
    """Finds or makes the networks, as `Networks` with the precisions that passed verification and
    the `problems` of the others. share: the number of this process among so many.
    """
    _take_cores(*share)
    from benchmarks.networks import find_networks
    from pcsr.errors import PcsrError

    def say(text: str) -> None:
        sys.stderr.write(f"{model}: {text}\n")

    problems: list[str] = []
    wanted = tuple(dict.fromkeys(("fp32", *precisions)))
    for some in dict.fromkeys((wanted, ("fp32",))):
        try:
            found = find_networks(model, Path(checkpoints), Path(cache), say, some)
        except PcsrError as error:
            problems.append(reason(f"{', '.join(some)}: {type(error).__name__}: {error}"))
            continue
        return asdict(found) | {"precisions": some, "problems": problems}
    return NOTHING | {"problems": problems}


def _take_cores(number: int, of: int) -> None:
    """Holds this process to its share of the cores: thread pools that share them wait in turns."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number::of] or cores)
