"""Which of several ways to compute the same is taken: the fastest that is right, by trying."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from .fusions import TOLERANCE

Run = Callable[[], Tensor]
Make = Callable[[], Run]
Timer = Callable[[Run], float]  # milliseconds of one run
WARM_UPS, RUNS = 3, 10


@dataclass(frozen=True)
class Outcome:
    """times_ms and dropped (and why): of the candidates, by name."""

    winner: str
    times_ms: Mapping[str, float]
    dropped: Mapping[str, str]

    def __str__(self) -> str:
        times = [f"{name} {time:.3f}" for name, time in self.times_ms.items()]
        reasons = [f"{name}: {reason}" for name, reason in self.dropped.items()]
        return f"{self.winner} ({', '.join([*times, *reasons])})"


def fastest(candidates: Mapping[str, Make], expected: Tensor, timer: Timer) -> Outcome:
    """The first candidate is what is done without a choice: its errors are the caller's. Others are
    dropped where they raise, or are not what is expected within rounding.
    """
    times, dropped = {}, {}
    for index, (name, make) in enumerate(candidates.items()):
        try:
            run = make()
            if index and (reason := difference(run(), expected)):
                dropped[name] = reason
            else:
                times[name] = timer(run)
        except Exception as error:  # whatever Triton and the compilers below it raise
            if not index:
                raise
            dropped[name] = str(error).partition("\n")[0] or type(error).__name__
    return Outcome(min(times, key=lambda name: times[name]), times, dropped)


def difference(found: Tensor, expected: Tensor) -> str:
    """Why this is not the expected result, or ""."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{found.dtype} {list(found.shape)} in place of {list(expected.shape)}"
    error = (found.float() - expected.float()).abs().max()
    bound = TOLERANCE[expected.dtype] * expected.float().abs().max()
    return "" if bool(error <= bound) else f"wrong by {error.item():.3g}"


def device_ms(run: Run) -> float:
    """The median of some replays from a CUDA graph, so that the host's pace does not count."""
    for _ in range(WARM_UPS):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        run()
    marks = [
        torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        for _ in range(RUNS + 1)
    ]
    graph.replay()
    for mark in marks[:-1]:
        mark.record()
        graph.replay()
    marks[-1].record()
    torch.cuda.synchronize()
    return median(float(start.elapsed_time(end)) for start, end in pairwise(marks))
