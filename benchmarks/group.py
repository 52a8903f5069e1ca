"""One model at one size: memory of every contender, then all of them interleaved, as records."""

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pcsr.bundle import Bundle
from pcsr.manifest import Costs

from . import environment, fidelity
from .alone import Footprint, Job
from .engines import SCALE, Image, make_engine
from .lineup import HEAVY_SHARE, PLAIN, Contender, EngineName, line_up
from .memory import DidNotFinish, footprint
from .networks import Networks
from .peak import sgemm_gflops
from .records import Record
from .rounds import Plan, Timing, give_back_memory, run_rounds
from .spread import Spread, paired_ratio, stage_medians

FILL = 0.8  # of the available memory; the rest is for what else the machine does
Footprints = Mapping[str, Footprint | DidNotFinish]
Say = Callable[[str], object]


@dataclass(frozen=True)
class Settings:
    """How to measure. max_seconds: a contender whose first call takes longer runs fewer rounds.

    eager: whether the forms in PyTorch take part.
    """

    rounds: int
    threads: int
    max_seconds: float
    eager: bool


@dataclass(frozen=True, eq=False)
class Group:
    """What is measured together. size: the name of the large image's size."""

    model: str
    size: str
    networks: Networks
    image: Image
    settings: Settings

    @property
    def key(self) -> str:
        """Equal for measurements that would repeat each other."""
        content = [
            self.model,
            self.image.shape,
            hashlib.sha256(self.image.tobytes()).hexdigest(),
            self.networks.key,
            asdict(self.settings),
            environment.machine(self.settings.threads),
            environment.source_hash(),
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def measure_group(group: Group, say: Say) -> list[Record]:
    """One record per contender. One that fails has a record that says why."""
    facts = _facts(group)
    contenders = _contenders(group)
    feet = _footprints(group, contenders, say)
    runners = [c for c in contenders if isinstance(feet[c.name], Footprint)]
    make = partial(make_engine, files=group.networks.files, threads=group.settings.threads)
    plan = make_plan(runners, feet, group.settings, environment.available_mib())
    timings = run_rounds(runners, group.image, make, plan, say)
    give_back_memory()
    return [
        facts
        | {"group_size": len(contenders), "contender": c.name, "label": c.label, "ours": c.is_ours}
        | _memory_part(feet[c.name], timings.get(c.name, Timing()))
        | _time_part(c, timings, plan)
        | _work_part(group, c, timings, facts["sgemm_gflops"])
        | {"fidelity": _fidelity_part(c, timings)}
        for c in contenders
    ]


def make_plan(
    contenders: Sequence[Contender],
    feet: Footprints,
    settings: Settings,
    available_mib: float | None,
) -> Plan:
    """Who is slow, and whether the plain session, whose arena keeps what its call took, has to go
    after each call for the others to fit.
    """
    slow: list[str] = []
    peaks: dict[EngineName, float] = {}
    for contender in contenders:
        foot = feet[contender.name]
        if isinstance(foot, DidNotFinish):
            continue
        if foot.first_call_ms > 1000 * settings.max_seconds:
            slow.append(contender.name)
        peaks[contender.engine] = max(peaks.get(contender.engine, 0), foot.peak_mib or 0)
    kept = peaks.pop("plain-ort", 0)
    too_much = kept + max(peaks.values(), default=0) > FILL * (available_mib or math.inf)
    released: list[EngineName] = ["plain-ort"] if too_much else []
    return Plan(settings.rounds, slow, released)


def _facts(group: Group) -> Record:
    """What all records of a group share."""
    settings = group.settings
    where = environment.describe(settings.threads)
    height, width = group.image.shape[:2]
    return {
        "key": group.key,
        "model": group.model,
        "size": group.size,
        "lr_size": [height, width],
        "hr_size": [height * SCALE, width * SCALE],
        "weights": [group.networks.pcsr_weights, group.networks.plain_weights],
        "is_trained": group.networks.is_trained,
        "rounds": settings.rounds,
        "sgemm_gflops": sgemm_gflops(settings.threads),
        "environment": where,
    }


def _contenders(group: Group) -> tuple[Contender, ...]:
    if group.networks.is_trained or not group.settings.eager:
        return line_up(group.settings.eager, None if group.networks.is_trained else 0.0)
    return line_up(True, k_of_share(group))


def k_of_share(group: Group) -> float:
    """The k at which `HEAVY_SHARE` of this image's pixels are heavy.

    A pixel is heavy where the logit of its difficulty exceeds k * ln(heavy cost / light cost).
    """
    run = make_engine("pcsr", group.networks.files, group.settings.threads)
    difficulty = run(group.image, {"heavy_ratio": HEAVY_SHARE}).threshold
    heavy, light = _costs(group, "pcsr").cost_table(SCALE).tolist()
    if difficulty is None or not 0 < difficulty < 1:
        return 0.0
    return math.log(difficulty / (1 - difficulty)) / math.log(heavy / light)


def _footprints(group: Group, contenders: Sequence[Contender], say: Say) -> Footprints:
    found: dict[str, Footprint | DidNotFinish] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.npy"
        np.save(file, group.image)
        for c in contenders:
            say(f"memory of {c.label}")
            job = Job(c.engine, c.options, group.networks.files, str(file), group.settings.threads)
            try:
                found[c.name] = footprint(job)
            except DidNotFinish as why:
                found[c.name] = why
    return found


def _memory_part(foot: Footprint | DidNotFinish, timing: Timing) -> Record:
    if isinstance(foot, DidNotFinish):
        return {"error": str(foot), "loaded_mib": None, "peak_mib": None, "first_call_ms": None}
    return {"error": timing.error} | asdict(foot)


def _time_part(contender: Contender, timings: Mapping[str, Timing], plan: Plan) -> Record:
    timing = timings.get(contender.name, Timing())
    plain = timings.get(PLAIN, Timing()).times_ms
    rival = timings.get(contender.rival or "", Timing()).times_ms
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


def _work_part(
    group: Group, contender: Contender, timings: Mapping[str, Timing], sgemm: float
) -> Record:
    """Multiply-adds, the paper's FLOPs and the speed; None for what ran no network."""
    timing = timings.get(contender.name, Timing())
    nothing = dict.fromkeys(
        ("heavy_share", "gmacs", "paper_gflops", "gflops_per_s", "share_of_sgemm")
    )
    if timing.first is None or contender.engine == "bicubic":
        return nothing
    counts = timing.first.pixels_per_upsampler
    gmacs, paper_gflops = work(
        _costs(group, contender.engine), contender.engine, group.image, counts
    )
    speed = None
    if timing.times_ms:
        speed = 2 * gmacs / (Spread.of(list(timing.times_ms.values())).median / 1000)
    return {
        "heavy_share": counts[0] / sum(counts) if counts else None,
        "gmacs": gmacs,
        "paper_gflops": paper_gflops,
        "gflops_per_s": speed,
        "share_of_sgemm": speed and speed / sgemm,
    }


def work(
    costs: Costs, engine: EngineName, image: Image, counts: Sequence[int]
) -> tuple[float, float]:
    """Multiply-adds that an engine executes (10^9) and the paper's FLOPs (10^9) of one image.

    The published form executes what the paper counts; the others run the exported graphs, or the
    plain network that one of them is.
    """
    lr = (image.shape[0], image.shape[1])
    hr = (SCALE * lr[0], SCALE * lr[1])
    flops = costs.paper_flops(lr, hr, counts)
    macs = flops / 2 if engine == "eager" else costs.macs(lr, hr, counts)
    return macs / 1e9, flops / 1e9


def _costs(group: Group, engine: EngineName) -> Costs:
    files = group.networks.files
    bundle = files.pcsr_bundle if engine in ("pcsr", "eager") else files.plain_bundle
    return Bundle.load(bundle).manifest.costs


def _fidelity_part(contender: Contender, timings: Mapping[str, Timing]) -> dict[str, Any] | None:
    own = timings.get(contender.name, Timing()).first
    rival = timings.get(contender.rival or "", Timing()).first
    if contender.rival is None or own is None or rival is None:
        return None
    found = fidelity.compare(own.image, rival.image, contender.rival)
    return asdict(found) | {"is_faithful": found.is_faithful}
