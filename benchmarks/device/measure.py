"""One model at one size in one precision: every contender's record."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from time import perf_counter

import numpy as np
import torch

from benchmarks.engines import SCALE, Files
from benchmarks.records import Record
from benchmarks.sizes import Size
from benchmarks.spread import paired_ratio, percentiles, stage_medians
from pcsr.bundle import Bundle
from pcsr.manifest import Costs
from pcsr.runtime.profiler.device_clock import Clock
from pcsr.runtime.profiler.work import Work, speed, stage_work, total_work

from .callers import make_caller
from .contenders import Contender
from .rounds import Guard, Image, Pace, Stage, Timing, run_rounds

POINTS = (50, 90, 99)
IMAGES = 3
SHIFT = (37, 53)

Ceilings = Mapping[str, float]


def measure(
    contenders: Sequence[Contender],
    files: Files,
    precision: str,
    images: Sequence[Image],
    device: torch.device,
    clock: Clock,
    guard: Guard,
    pace: Pace,
    limit_s: float,
) -> Iterator[Record]:
    """One record per contender; one that failed says why."""
    cost = Bundle.load(files.pcsr_bundle).manifest.costs.cost_table(SCALE).tolist()
    make = partial(make_caller, files=files, precision=precision, device=device)
    stage = Stage.of(images, device, clock, make, (cost[0], cost[-1]))
    timings = run_rounds(contenders, stage, guard, pace, perf_counter() + limit_s)
    del stage
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    by_name = {contender.name: timing for contender, timing in timings.items()}
    height, width = images[0].shape[:2]
    for contender in contenders:
        facts = {"clock": clock.name, "lr_size": [height, width]}
        yield facts | _record(contender, by_name, files, precision, (height, width))


def views(image: Image) -> list[Image]:
    """A few images with the same content at other places: no cache knows the next one."""
    shifts = [(number * SHIFT[0], number * SHIFT[1]) for number in range(IMAGES)]
    return [np.ascontiguousarray(np.roll(image, shift, (0, 1))) for shift in shifts]


def _record(
    contender: Contender,
    timings: Mapping[str, Timing],
    files: Files,
    precision: str,
    lr_size: Size,
) -> Record:
    timing = timings[contender.name]
    rivals = [
        timings[name].device_ms if name in timings else {}
        for name in (contender.plain, contender.published)
    ]
    return {
        "contender": contender.name,
        "family": contender.engine.family,
        "backend": contender.engine.backend,
        "passes": contender.engine.passes,
        "cuda_graphs": contender.engine.cuda_graphs,
        "mode": contender.mode,
        "ours": contender.engine.is_ours,
        "error": timing.error,
        "skipped": timing.skipped,
        "notes": timing.notes,
        "device_ms": _points(timing.device_ms),
        "host_ms": _points(timing.host_ms),
        "enqueue_ms": _points(timing.enqueue_ms),
        "over_plain": paired_ratio(timing.device_ms, rivals[0]),
        "over_published": paired_ratio(timing.device_ms, rivals[1]),
        "plain": contender.plain,
        "peak_mib": timing.peak_mib,
        "held_mib": timing.held_mib,
        "times_ms": list(timing.device_ms.values()),
    } | _work(contender, timing, files, precision, lr_size)


def _points(times: Mapping[int, float]) -> dict[str, float] | None:
    if not times:
        return None
    found = percentiles(list(times.values()), POINTS)
    return {f"p{point}": value for point, value in zip(POINTS, found, strict=True)} | {
        "rounds": len(times)
    }


def _work(
    contender: Contender, timing: Timing, files: Files, precision: str, lr_size: Size
) -> Record:
    """Share of heavy pixels, work and speed, as a whole and by stage."""
    is_plain = contender.engine.family.startswith("plain")
    manifest = Bundle.load(files.plain_bundle if is_plain else files.pcsr_bundle).manifest
    counts = timing.details.pixels
    hr_size = (lr_size[0] * SCALE, lr_size[1] * SCALE)
    stages: dict[str, Work] = {}
    if timing.device_ms and (is_plain or counts):
        stages = stage_work(manifest, precision, lr_size, hr_size, counts)
    total = total_work(stages)
    if contender.engine.family == "published" and counts:
        total = Work(total.bytes, _published_flops(manifest.costs, lr_size, hr_size, counts))
    median = (_points(timing.device_ms) or {}).get("p50", 0.0)
    medians = stage_medians([run for run in timing.stages_ms if run])
    return {
        "heavy_share": counts[0] / sum(counts) if counts else None,
        "gflop": total.flops / 1e9 if stages else None,
        "least_mb": total.bytes / 1e6 if stages else None,
        **speed(total, median if stages else 0.0),
        "stages": {
            name: {"ms": ms} | (speed(stages[name], ms) if name in stages else {})
            for name, ms in medians.items()
        },
    }


def _published_flops(costs: Costs, lr_size: Size, hr_size: Size, counts: Sequence[int]) -> float:
    """It computes what the paper counts."""
    return costs.paper_flops(lr_size, hr_size, counts)
