"""Interleaved timing on a device: in each round every contender once, in a shuffled order."""

import gc
import math
import random
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.group import k_of_difficulty
from benchmarks.memory import reason
from pcsr.cli import one_line

from .callers import Answer, Caller, Details
from .clock import Clock, Lap
from .contenders import AT_SHARE, Contender, Engine, Options

ROUNDS = 30
HOST_ROUNDS = 12  # of them also from array to array
SLOW_MS = 150.0
SLOW_ROUNDS = 5
LEAST_ROUNDS = 3  # even past the time limit
WARM_UPS = 4  # the second records, the third replays
SEED = 0
MIB = 2**20

Image = NDArray[np.uint8]
Guard = Callable[[str, Callable[[], Any]], Any]
"""Runs a step under a name; what it raises is raised again, or ends the process."""


@dataclass
class Timing:
    """Of one contender. device_ms, host_ms: by number of the round, from 0. host_ms is from array
    to array. peak_mib: the most of the device's memory that its first call took on top of what was
    there; held_mib: what it kept after its warm-up.
    """

    device_ms: dict[int, float] = field(default_factory=dict)
    enqueue_ms: dict[int, float] = field(default_factory=dict)
    host_ms: dict[int, float] = field(default_factory=dict)
    stages_ms: list[Mapping[str, float]] = field(default_factory=list)
    details: Details = field(default_factory=Details)
    peak_mib: float | None = None
    held_mib: float | None = None
    warm: Lap = Lap(math.inf, math.inf)
    notes: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def rounds(self) -> int:
        """Rounds that it takes part in."""
        return SLOW_ROUNDS if self.warm.device_ms > SLOW_MS else ROUNDS


@dataclass(frozen=True)
class Stage:
    """Where the contenders run. images: arrays of one size that differ. k_at_share: the k at which
    the published form has `AT_SHARE`, from the difficulty of the threshold.
    """

    images: Sequence[Image]
    tensors: Sequence[torch.Tensor]
    clock: Clock
    make: Callable[[Engine], Caller]
    k_at_share: Callable[[float | None], float]

    @classmethod
    def of(
        cls,
        images: Sequence[Image],
        device: torch.device,
        clock: Clock,
        make: Callable[[Engine], Caller],
        cost: Sequence[float],
    ) -> "Stage":
        """cost: of the heavy and the light upsampler, as of `cost_table`."""
        tensors = [torch.from_numpy(image).to(device) for image in images]
        return cls(images, tensors, clock, make, lambda d: k_of_difficulty(d, *cost))


def run_rounds(
    contenders: Sequence[Contender], stage: Stage, guard: Guard, stop_at: float
) -> dict[Contender, Timing]:
    """Times all contenders until the rounds are done or `perf_counter` reaches stop_at. One that
    raises says so in its `error` and takes part no more.
    """
    race = _Race(stage, guard)
    for contender in contenders:
        late = time.perf_counter() > stop_at
        race.attempt(contender, race.skip if late else race.warm_up)
    for number in range(ROUNDS):
        if number >= LEAST_ROUNDS and perf_counter() > stop_at:
            break
        runners = [c for c in race.fit(contenders) if number < race.timings[c].rounds]
        random.Random(SEED + number).shuffle(runners)
        for contender in runners:
            race.attempt(contender, lambda c, at=number: race.run(c, at))
    return race.timings


class _Race:
    """Engines, made at their first use, and what was measured of them."""

    def __init__(self, stage: Stage, guard: Guard) -> None:
        self._stage, self._guard = stage, guard
        self._callers: dict[Engine, Caller] = {}
        self._is_cuda = stage.tensors[0].is_cuda
        self.timings: dict[Contender, Timing] = {}

    def fit(self, contenders: Sequence[Contender]) -> list[Contender]:
        """Those without an error."""
        return [c for c in contenders if self.timings[c].error is None]

    def attempt(self, contender: Contender, step: Callable[[Contender], None]) -> None:
        """One step; its warnings and its error are the contender's."""
        timing = self.timings.setdefault(contender, Timing())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                self._guard(contender.engine.label, lambda: step(contender))
            except Exception as error:  # engines raise many kinds; each is that row's result
                timing.error = reason(f"{type(error).__name__}: {error}")
                del error
                gc.collect()
        notes = [one_line(str(w.message)) for w in caught if _counts(w)]
        timing.notes += [note for note in dict.fromkeys(notes) if note not in timing.notes]

    def skip(self, contender: Contender) -> None:
        """There is no time left for it."""
        raise TimeoutError("no time was left for it")

    def warm_up(self, contender: Contender) -> None:
        """Loads its engine, measures the memory of a first call, and calls it a few times more."""
        timing = self.timings[contender]
        if contender.engine not in self._callers:
            self._callers[contender.engine] = self._stage.make(contender.engine)
        before = self._allocated(reset=True)
        self._call(contender, 0)
        self._stage.clock.wait()
        peak = self._peak()
        for _ in range(WARM_UPS):
            timing.warm = self._lap(contender, 0)
        if before is not None and peak is not None:
            timing.peak_mib = (peak - before) / MIB
            timing.held_mib = ((self._allocated() or 0) - before) / MIB
        timing.details = self._host_call(contender, 0)[1]

    def run(self, contender: Contender, number: int) -> None:
        """One round: on the device, and in the first ones also from array to array."""
        timing = self.timings[contender]
        lap = self._lap(contender, number)
        timing.device_ms[number], timing.enqueue_ms[number] = lap.device_ms, lap.enqueue_ms
        if number < HOST_ROUNDS:
            timing.host_ms[number], details = self._host_call(contender, number)
            timing.stages_ms.append(details.stage_ms)

    def _lap(self, contender: Contender, number: int) -> Lap:
        warm = self.timings[contender].warm
        hold_ms = 0.1 + (2 * warm.enqueue_ms if warm.enqueue_ms < math.inf else 0)
        return self._stage.clock.lap(lambda: self._call(contender, number), hold_ms)

    def _call(self, contender: Contender, number: int) -> Answer:
        tensors = self._stage.tensors
        image = tensors[number % len(tensors)]
        return self._callers[contender.engine](image, self._options(contender))

    def _host_call(self, contender: Contender, number: int) -> tuple[float, Details]:
        """Milliseconds from array to array, and what the call tells."""
        images = self._stage.images
        image = images[number % len(images)]
        options = self._options(contender)
        self._stage.clock.wait()
        start = perf_counter()
        answer = self._callers[contender.engine](image, options)
        self._stage.clock.wait()
        return 1000 * (perf_counter() - start), answer.details()

    def _options(self, contender: Contender) -> Options:
        if contender.engine.family == "published" and contender.mode == AT_SHARE:
            return {"k": self._stage.k_at_share(self._threshold_at_share())}
        return contender.options

    def _threshold_at_share(self) -> float:
        for contender, timing in self.timings.items():
            if contender.mode == AT_SHARE and timing.details.threshold is not None:
                return timing.details.threshold
        raise LookupError("no contender of ours ran at 20 % heavy, which tells the k of this one")

    def _allocated(self, reset: bool = False) -> int | None:
        if not self._is_cuda:
            return None
        if reset:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()

    def _peak(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self._is_cuda else None


def _counts(warning: warnings.WarningMessage) -> bool:
    """Whether it says something about the run, and not about a library's future."""
    return issubclass(warning.category, RuntimeWarning | ResourceWarning)
