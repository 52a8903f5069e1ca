"""The figures of one contender of `make bench`, as the parts of its record."""

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

from benchmarks.contenders import SCALE, SINGLE_FILE, SPAN_FAMILIES, Contender, Implementation
from benchmarks.image import Image, Size
from benchmarks.records import Record
from benchmarks.series import NOT_TIMED, AllSeries, ContenderSeries
from pcsr.manifest import Costs
from pcsr.metrics import psnr
from pcsr.runtime.profiler.measuring.first_use import FirstUse
from pcsr.runtime.profiler.measuring.process import DidNotFinish
from pcsr.runtime.profiler.measuring.rounds import reason
from pcsr.runtime.profiler.measuring.statistics import by_stage, distribution, paired_ratio

from .rounds import Care

# One level is rounding. The design lets 1e-4 of the pixels go to another upsampler, and refinement
# spreads each over at most nine.
LARGEST_SHARE_OFF = 1e-3


def memory_figures(first: FirstUse | DidNotFinish, series: ContenderSeries) -> Record:
    """Gives memory and time of the first call, and why there is no more than that."""
    names = ("loaded_mib", "peak_mib", "first_call_ms")
    if isinstance(first, DidNotFinish):
        return {"error": reason(str(first)), **dict.fromkeys(names)}
    figures = (first.loaded_mib, first.peak_mib, first.first_ms)
    return {"error": series.error, **dict(zip(names, figures, strict=True))}


def time_figures(contender: Contender, everyone: AllSeries, care: Care) -> Record:
    """Gives median, spread, ratios within the rounds, and all times."""
    series, plain, published = (
        everyone.get(name, NOT_TIMED)
        for name in (contender.name, contender.plain, contender.published)
    )
    times = list(series.times_ms.values())
    spread = distribution(times, (10,)).percentiles if times else {}
    return {
        "median_ms": spread.get("p50"),
        "p10_ms": spread.get("p10"),
        "p90_ms": spread.get("p90"),
        "time_over_plain": paired_ratio(series.times_ms, plain.times_ms),
        "time_over_published": paired_ratio(series.times_ms, published.times_ms),
        "times_ms": times,
        "in_rounds": [number + 1 for number in series.times_ms],
        "is_slow": contender.name in care.slow,
        "is_released": contender.implementation.family in care.released,
        "stage_ms": by_stage([turn.stage_ms for turn in series.rounds.values()], median),
    }


def work_figures(
    contender: Contender, series: ContenderSeries, costs: Costs, lr_size: Size, sgemm_gflops: float
) -> Record:
    """Gives heavy share, multiply-adds, the paper's FLOPs, speed; None for what ran no network.

    costs: of the contender's bundle. lr_size: (height, width).
    """
    gmacs = paper_gflops = speed = None
    counts_nothing = contender.implementation.family in ("bicubic", *SINGLE_FILE, *SPAN_FAMILIES)
    if series.details is not None and not counts_nothing:
        gmacs, paper_gflops = work(costs, contender.implementation, lr_size, series.pixels)
        times = list(series.times_ms.values())
        speed = 2 * gmacs / (distribution(times).p50 / 1000) if times else None
    return {
        "heavy_share": series.heavy_share,
        "gmacs": gmacs,
        "paper_gflops": paper_gflops,
        "gflops_per_s": speed,
        "share_of_sgemm": speed and speed / sgemm_gflops,
    }


def work(
    costs: Costs, implementation: Implementation, lr_size: Size, counts: Sequence[int]
) -> tuple[float, float]:
    """Counts the multiply-adds that an implementation executes (10^9) and the paper's FLOPs (10^9)
    of one image.

    The published form executes what the paper counts; the others run the exported graphs, or the
    plain network that one of them was made from.
    """
    hr_size = (SCALE * lr_size[0], SCALE * lr_size[1])
    flops = costs.paper_flops(lr_size, hr_size, counts)
    is_published = implementation.family == "published"
    macs = flops / 2 if is_published else costs.macs(lr_size, hr_size, counts)
    return macs / 1e9, flops / 1e9


def fidelity_figures(contender: Contender, everyone: AllSeries) -> Record:
    """Compares the image with that of the published form; None without one."""
    own = everyone.get(contender.name, NOT_TIMED).image
    rival = everyone.get(contender.published, NOT_TIMED).image
    if own is None or rival is None:
        return {"fidelity": None}
    return {"fidelity": compare(own, rival, contender.published)}


def compare(image: Image, other: Image, rival: str) -> Record:
    """Compares images [H, W, 3] of the same size: PSNR (None where they are equal), the largest
    difference, and the share of pixels with a channel that differs by more than one level.
    """
    differences = np.maximum(image, other) - np.minimum(image, other)
    decibels = psnr(image, other)
    share_off = float((differences.max(axis=2) > 1).mean())
    return {
        "rival": rival,
        "psnr_db": None if math.isinf(decibels) else decibels,
        "max_levels": int(differences.max()),
        "share_off": share_off,
        "is_faithful": share_off <= LARGEST_SHARE_OFF,
    }
