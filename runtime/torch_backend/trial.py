"""Trials: of several ways to compute the same, the fastest that is right is taken."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from pcsr.runtime.trials.outcome import TrialOutcome, reason_of

from .capture import captured

Run = Callable[[], Tensor]
Make = Callable[[], Run]
Timer = Callable[[Run], float]  # milliseconds of one run
WARM_UPS, RUNS = 3, 10
PROBE_SIZE = (24, 40)
TIMED_SIZE = (540, 960)  # maps that do not stay in the GPU's cache, as those of real images do not
# Relative to the largest value: one rounding in place of two or three.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def fastest(candidates: Mapping[str, Make], expected: Tensor, timer: Timer) -> TrialOutcome:
    """Tries candidates. The first one is what is done without a choice: its errors are the
    caller's. Others are dropped where they raise, or are not what is expected within rounding.
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
            dropped[name] = reason_of(error)
    return TrialOutcome(min(times, key=lambda name: times[name]), times, dropped)


def difference(found: Tensor, expected: Tensor) -> str:
    """Says why this is not the expected result, or ""."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{found.dtype} {list(found.shape)} in place of {list(expected.shape)}"
    error = (found.float() - expected.float()).abs().max()
    bound = TOLERANCE[expected.dtype] * expected.float().abs().max()
    return "" if bool(error <= bound) else f"wrong by {error.item():.3g}"


def random_source(
    device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> Callable[..., Tensor]:
    """Gives a function of sizes that makes random tensors, the same ones each time."""
    generator = torch.Generator(device).manual_seed(0)

    def random(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float32, device=device)
        return laid_out(values.to(dtype), layout)

    return random


def laid_out(value: Tensor, layout: torch.memory_format) -> Tensor:
    """Gives an image [n, c, h, w] in this layout; other tensors stay."""
    return value.contiguous(memory_format=layout) if value.ndim == 4 else value


def layout_for(dtype: torch.dtype) -> torch.memory_format:
    """Gives the layout that is fast: tensor cores want channels last, float32 without them not."""
    return torch.contiguous_format if dtype == torch.float32 else torch.channels_last


def device_ms(run: Run) -> float:
    """Gives the median time of some replays of a CUDA graph on the current device: the host's pace
    does not count.
    """
    for _ in range(WARM_UPS):
        run()
    torch.cuda.synchronize()
    graph = captured(run, torch.cuda.Stream())  # type: ignore[no-untyped-call]
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
