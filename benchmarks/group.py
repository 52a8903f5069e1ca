"""One model at one size: memory of every contender, then all of them interleaved, as records."""

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pcsr.bundle import Bundle
from pcsr.manifest import Costs
from pcsr.runtime.machine import available_mib, machine
from pcsr.runtime.profiler.ceilings import sgemm_gflops
from pcsr.runtime.profiler.load import Load, foreign_cores

from . import environment
from .alone import Footprint, Job
from .engines import SCALE, Image, make_engine
from .figures import (
    NOT_TIMED,
    Footprints,
    Timings,
    fidelity_figures,
    memory_figures,
    time_figures,
    work_figures,
)
from .lineup import OURS_AT_SHARE, Contender, EngineName, line_up
from .memory import DidNotFinish, footprint
from .networks import Networks
from .records import Record
from .rounds import Plan, give_back_memory, run_rounds

FILL = 0.8  # of the available memory; the rest is for what else the machine does
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
            machine(self.settings.threads),
            environment.source_hash(),
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def costs(self, engine: EngineName) -> Costs:
        """Of the bundle that an engine runs, or that its network was exported to."""
        files = self.networks.files
        is_pcsr = engine in ("pcsr", "eager")
        return Bundle.load(files.pcsr_bundle if is_pcsr else files.plain_bundle).manifest.costs


def measure_group(group: Group, say: Say) -> list[Record]:
    """One record per contender. One that fails has a record that says why."""
    settings, files = group.settings, group.networks.files
    where = environment.describe(settings.threads)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.npy"
        np.save(file, group.image)
        contenders = _contenders(group, file)
        feet = {}
        for contender in contenders:
            say(f"memory of {contender.label}")
            feet[contender.name] = _footprint(group, contender, file)
    runners = [c for c in contenders if isinstance(feet[c.name], Footprint)]
    plan = make_plan(runners, feet, settings, available_mib())
    make = partial(make_engine, files=files, threads=settings.threads)
    before, start = sgemm_gflops(settings.threads), Load.now()
    timings = run_rounds(runners, group.image, make, plan, say)
    foreign = foreign_cores(start, Load.now())
    give_back_memory()
    facts = _facts(group) | {
        "group_size": len(contenders),
        "environment": where,
        "foreign_cores": foreign,
        "sgemm_gflops": max(before, sgemm_gflops(settings.threads)),
    }
    return [facts | _figures(group, c, feet, timings, plan, facts) for c in contenders]


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
    height, width = group.image.shape[:2]
    return {
        "key": group.key,
        "model": group.model,
        "size": group.size,
        "lr_size": [height, width],
        "hr_size": [height * SCALE, width * SCALE],
        "weights": [group.networks.pcsr_weights, group.networks.plain_weights],
        "is_trained": group.networks.is_trained,
        "rounds": group.settings.rounds,
    }


def _contenders(group: Group, file: Path) -> tuple[Contender, ...]:
    if group.networks.is_trained:
        return line_up(group.settings.eager)
    found = _footprint(group, OURS_AT_SHARE, file) if group.settings.eager else None
    difficulty = found.threshold if isinstance(found, Footprint) else None
    heavy, light = group.costs("pcsr").cost_table(SCALE).tolist()
    return line_up(group.settings.eager, k_of_difficulty(difficulty, heavy, light))


def k_of_difficulty(difficulty: float | None, heavy: float, light: float) -> float:
    """The k that cuts at a difficulty; 0 where it is not known. heavy, light: the cost table.

    A pixel is heavy where the logit of its difficulty exceeds k * ln(heavy / light).
    """
    if difficulty is None or not 0 < difficulty < 1:
        return 0.0
    return math.log(difficulty / (1 - difficulty)) / math.log(heavy / light)


def _footprint(group: Group, contender: Contender, file: Path) -> Footprint | DidNotFinish:
    files, threads = group.networks.files, group.settings.threads
    job = Job(contender.engine, contender.options, files, str(file), threads)
    try:
        return footprint(job)
    except DidNotFinish as why:
        return why


def _figures(
    group: Group,
    contender: Contender,
    feet: Footprints,
    timings: Timings,
    plan: Plan,
    facts: Record,
) -> Record:
    timing = timings.get(contender.name, NOT_TIMED)
    lr_size = (group.image.shape[0], group.image.shape[1])
    costs = group.costs(contender.engine)
    who = {
        "contender": contender.name,
        "label": contender.label,
        "ours": contender.is_ours,
        "rival": contender.rival,
    }
    return (
        who
        | memory_figures(feet[contender.name], timing)
        | time_figures(contender, timings, plan)
        | work_figures(contender, timing, costs, lr_size, facts["sgemm_gflops"])
        | fidelity_figures(contender, timings)
    )
