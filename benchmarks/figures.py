"""The figures of one contender, as the parts of its record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pcsr.manifest import Costs

from .alone import Footprint
from .engines import SCALE
from .fidelity import compare
from .lineup import PLAIN, Contender, EngineName
from .memory import DidNotFinish
from .records import Record
from .rounds import Plan, Timing
from .spread import Spread, paired_ratio, stage_medians

Size = tuple[int, int]
Footprints = Mapping[str, Footprint | DidNotFinish]
Timings = Mapping[str, Timing]

NOT_TIMED = Timing()


def memory_figures(found: Footprint | DidNotFinish, timing: Timing) -> Record:
    """Memory and time of the first call, and why there is no more than that."""
    if isinstance(found, DidNotFinish):
        return {"error": str(found), "loaded_mib": None, "peak_mib": None, "first_call_ms": None}
    return {
        "error": timing.error,
        "loaded_mib": found.loaded_mib,
        "peak_mib": found.peak_mib,
        "first_call_ms": found.first_call_ms,
    }


def time_figures(contender: Contender, timings: Timings, plan: Plan) -> Record:
    """Median, spread, ratios within the rounds, and all times."""
    timing = timings.get(contender.name, NOT_TIMED)
    plain = timings.get(PLAIN, NOT_TIMED).times_ms
    rival = timings.get(contender.rival or "", NOT_TIMED).times_ms
    times = list(timing.times_ms.values())
    spread = Spread.of(times) if times else None
    return {
        "median_ms": spread and spread.median,
        "p10_ms": spread and spread.p10,
        "p90_ms": spread and spread.p90,
        "time_over_plain": paired_ratio(timing.times_ms, plain),
        "time_over_published": paired_ratio(timing.times_ms, rival),
        "times_ms": times,
        "in_rounds": list(timing.times_ms),
        "is_slow": contender.name in plan.slow,
        "is_released": contender.engine in plan.released,
        "stage_ms": stage_medians(timing.stages_ms),
    }


def work_figures(
    contender: Contender, timing: Timing, costs: Costs, lr_size: Size, sgemm_gflops: float
) -> Record:
    """Heavy share, multiply-adds, the paper's FLOPs and the speed; None for what ran no network.

    costs: of the contender's bundle. lr_size: (height, width).
    """
    if timing.first is None or contender.engine == "bicubic":
        names = ("heavy_share", "gmacs", "paper_gflops", "gflops_per_s", "share_of_sgemm")
        return dict.fromkeys(names)
    counts = timing.first.pixels_per_upsampler
    gmacs, paper_gflops = work(costs, contender.engine, lr_size, counts)
    times = list(timing.times_ms.values())
    speed = 2 * gmacs / (Spread.of(times).median / 1000) if times else None
    return {
        "heavy_share": counts[0] / sum(counts) if counts else None,
        "gmacs": gmacs,
        "paper_gflops": paper_gflops,
        "gflops_per_s": speed,
        "share_of_sgemm": speed and speed / sgemm_gflops,
    }


def work(
    costs: Costs, engine: EngineName, lr_size: Size, counts: Sequence[int]
) -> tuple[float, float]:
    """Multiply-adds that an engine executes (10^9) and the paper's FLOPs (10^9) of one image.

    The published form executes what the paper counts; the others run the exported graphs, or the
    plain network that one of them was made from.
    """
    hr_size = (SCALE * lr_size[0], SCALE * lr_size[1])
    flops = costs.paper_flops(lr_size, hr_size, counts)
    macs = flops / 2 if engine == "eager" else costs.macs(lr_size, hr_size, counts)
    return macs / 1e9, flops / 1e9


def fidelity_figures(contender: Contender, timings: Timings) -> Record:
    """How the image compares with its rival's; None without one."""
    own = timings.get(contender.name, NOT_TIMED).first
    rival = timings.get(contender.rival or "", NOT_TIMED).first
    if contender.rival is None or own is None or rival is None:
        return {"fidelity": None}
    found = compare(own.image, rival.image, contender.rival)
    return {"fidelity": asdict(found) | {"is_faithful": found.is_faithful}}
