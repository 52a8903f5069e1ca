"""The figures of one contender of `make bench`, as the parts of its record."""

from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.contenders import SCALE, Contender, Implementation
from benchmarks.image import Size
from benchmarks.records import Record
from benchmarks.series import AllSeries, ContenderSeries
from pcsr.manifest import Costs
from pcsr.runtime.profiler.measuring.first_use import FirstUse
from pcsr.runtime.profiler.measuring.process import DidNotFinish
from pcsr.runtime.profiler.measuring.rounds import reason
from pcsr.runtime.profiler.measuring.statistics import distribution, paired_ratio, stage_medians

from .fidelity import compare
from .rounds import Care

NOT_TIMED = ContenderSeries()


def memory_figures(first: FirstUse | DidNotFinish, series: ContenderSeries) -> Record:
    """Gives memory and time of the first call, and why there is no more than that."""
    if isinstance(first, DidNotFinish):
        why = reason(str(first))
        return {"error": why, "loaded_mib": None, "peak_mib": None, "first_call_ms": None}
    return {
        "error": series.error,
        "loaded_mib": first.loaded_mib,
        "peak_mib": first.peak_mib,
        "first_call_ms": first.first_ms,
    }


def time_figures(contender: Contender, everyone: AllSeries, care: Care) -> Record:
    """Gives median, spread, ratios within the rounds, and all times."""
    series = everyone.get(contender.name, NOT_TIMED)
    plain = everyone.get(contender.plain, NOT_TIMED).times_ms
    rival = everyone.get(contender.published, NOT_TIMED).times_ms
    times = list(series.times_ms.values())
    spread = distribution(times, (10, 50, 90)).percentiles if times else {}
    return {
        "median_ms": spread.get("p50"),
        "p10_ms": spread.get("p10"),
        "p90_ms": spread.get("p90"),
        "time_over_plain": paired_ratio(series.times_ms, plain),
        "time_over_published": paired_ratio(series.times_ms, rival),
        "times_ms": times,
        "in_rounds": [number + 1 for number in series.times_ms],
        "is_slow": contender.name in care.slow,
        "is_released": contender.implementation.family in care.released,
        "stage_ms": stage_medians([turn.stage_ms for turn in series.rounds.values()]),
    }


def work_figures(
    contender: Contender, series: ContenderSeries, costs: Costs, lr_size: Size, sgemm_gflops: float
) -> Record:
    """Gives heavy share, multiply-adds, the paper's FLOPs, speed; None for what ran no network.

    costs: of the contender's bundle. lr_size: (height, width).
    """
    if series.details is None or contender.implementation.family == "bicubic":
        names = ("heavy_share", "gmacs", "paper_gflops", "gflops_per_s", "share_of_sgemm")
        return dict.fromkeys(names)
    counts = series.details.pixels
    gmacs, paper_gflops = work(costs, contender.implementation, lr_size, counts)
    times = list(series.times_ms.values())
    speed = 2 * gmacs / (distribution(times).p50 / 1000) if times else None
    return {
        "heavy_share": counts[0] / sum(counts) if counts else None,
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
    if not contender.published or own is None or rival is None:
        return {"fidelity": None}
    found = compare(own, rival, contender.published)
    return {"fidelity": asdict(found) | {"is_faithful": found.is_faithful}}
