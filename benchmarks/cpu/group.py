"""One model at one size on the CPU: first uses of all contenders, their rounds, and the records."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from benchmarks import environment
from benchmarks.callers import Files, Place, open_caller
from benchmarks.contenders import OURS_AT_SHARE, SCALE, Contender, Family, cpu_line_up
from benchmarks.image import Image, Size
from benchmarks.networks import Networks
from benchmarks.records import Record
from benchmarks.series import NOT_TIMED, k_of_difficulty
from pcsr.bundle import Bundle
from pcsr.manifest import Costs
from pcsr.runtime.machine import available_mib, machine
from pcsr.runtime.profiler.measuring.ceilings import sgemm_gflops
from pcsr.runtime.profiler.measuring.first_use import FirstUse, first_use
from pcsr.runtime.profiler.measuring.monitor import Load, foreign_cores
from pcsr.runtime.profiler.measuring.process import DidNotFinish

from .figures import fidelity_figures, memory_figures, time_figures, work_figures
from .rounds import Care, Say, give_back_memory, run_rounds

FILL = 0.8  # of the available memory; the rest is for what else the machine does
OPENER = "benchmarks.callers:open_in_process"
First = FirstUse | DidNotFinish
"""What a first use took, or why there was none."""


@dataclass(frozen=True)
class BenchOptions:
    """Says how to measure."""

    rounds: int
    """That count; one more comes before them and is discarded."""
    threads: int
    max_seconds: float
    """A contender whose first call takes longer runs fewer rounds."""
    eager: bool
    """Whether the forms in PyTorch take part."""
    precisions: tuple[str, ...] = ("fp32",)
    """Of ours, fp32 first."""
    others: tuple[str, ...] = ()
    """Which of `openvino` and `span` take part."""


@dataclass(frozen=True, eq=False)
class Group:
    """A group is measured together: one model at one size."""

    model: str
    size: str
    """Name of the large image's size."""
    networks: Networks
    image: Image
    options: BenchOptions

    @property
    def lr_size(self) -> Size:
        """Gives (height, width) of the image."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def key(self) -> str:
        """The key is equal for measurements that would repeat each other."""
        content = [
            self.model,
            self.image.shape,
            hashlib.sha256(self.image.tobytes()).hexdigest(),
            self.networks.key,
            asdict(self.options),
            machine(self.options.threads),
            environment.source_hash(),
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def costs(self, is_pcsr: bool) -> Costs:
        """Gives those of the bundle of either form."""
        return Bundle.load(self.networks.files.bundle(is_pcsr)).manifest.costs


def measure_group(group: Group, say: Say) -> list[Record]:
    """Makes one record per contender. One that fails has a record that says why."""
    options, files = group.options, group.networks.files
    where = environment.describe(options.threads)
    use_first = partial(try_first_use, files=files, threads=options.threads, image=group.image)
    contenders = _contenders(group, use_first)
    firsts: dict[str, First] = {}
    for contender in contenders:
        say(f"memory of {contender.label}")
        firsts[contender.name] = use_first(contender)
    runners = [c for c in contenders if isinstance(firsts[c.name], FirstUse)]
    care = make_care(runners, firsts, options.max_seconds, available_mib())
    opener = partial(open_caller, files=files, place=Place(threads=options.threads))
    before, start = sgemm_gflops(options.threads), Load.now()
    everyone = run_rounds(runners, group.image, opener, options.rounds, care, say)
    foreign = foreign_cores(start, Load.now())
    give_back_memory()
    roof = max(before, sgemm_gflops(options.threads))
    facts = _facts(group) | {
        "group_size": len(contenders),
        "environment": where,
        "foreign_cores": foreign,
        "sgemm_gflops": roof,
    }

    def record(contender: Contender) -> Record:
        series = everyone.get(contender.name, NOT_TIMED)
        costs = group.costs(contender.implementation.is_pcsr)
        who = {
            "contender": contender.name,
            "label": contender.label,
            "ours": contender.implementation.is_ours,
            "rival": contender.published or None,
        }
        return (
            facts
            | who
            | memory_figures(firsts[contender.name], series)
            | time_figures(contender, everyone, care)
            | work_figures(contender, series, costs, group.lr_size, roof)
            | fidelity_figures(contender, everyone)
        )

    return [record(contender) for contender in contenders]


def _facts(group: Group) -> Record:
    height, width = group.lr_size
    return {
        "key": group.key,
        "model": group.model,
        "size": group.size,
        "lr_size": [height, width],
        "hr_size": [height * SCALE, width * SCALE],
        "weights": list(group.networks.weights),
        "is_trained": group.networks.is_trained,
        "rounds": group.options.rounds,
    }


def make_care(
    contenders: Sequence[Contender],
    firsts: Mapping[str, First],
    max_seconds: float,
    available_mib: float | None,
) -> Care:
    """Finds who is slow, and whether the plain session, whose arena keeps what a call took, must go
    after each call for the others to fit.
    """
    slow: list[str] = []
    peaks: dict[Family, float] = {}
    for contender in contenders:
        first, family = firsts[contender.name], contender.implementation.family
        if isinstance(first, DidNotFinish):
            continue
        if first.first_ms > 1000 * max_seconds:
            slow.append(contender.name)
        peaks[family] = max(peaks.get(family, 0), first.peak_mib or 0)
    kept = peaks.pop("plain-session", 0)
    too_much = kept + max(peaks.values(), default=0) > FILL * (available_mib or math.inf)
    return Care(slow, ["plain-session"] if too_much else [])


def _contenders(group: Group, use_first: Callable[[Contender], First]) -> tuple[Contender, ...]:
    options = group.options
    line_up = partial(cpu_line_up, precisions=options.precisions, others=options.others)
    if group.networks.is_trained:
        return line_up(options.eager)
    found = use_first(OURS_AT_SHARE) if options.eager else None
    difficulty = found.threshold if isinstance(found, FirstUse) else None
    heavy, light = group.costs(is_pcsr=True).cost_table(SCALE).tolist()
    return line_up(options.eager, k_of_difficulty(difficulty, heavy, light))


def try_first_use(contender: Contender, files: Files, threads: int, image: Image) -> First:
    """Tries the first use of a contender in a process of its own; or says why there is none."""
    implementation = asdict(contender.implementation)
    arguments = {"implementation": implementation, "files": asdict(files), "threads": threads}
    try:
        return first_use(OPENER, arguments, image, contender.options, environment.ROOT)
    except DidNotFinish as why:
        return why
