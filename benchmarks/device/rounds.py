"""Interleaved timing on a device: in each round every contender once, in a shuffled order."""

import gc
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.group import k_of_difficulty
from benchmarks.memory import reason
from pcsr.runtime.profiler.device_clock import Clock, Lap
from pcsr.text import one_line

from .callers import Answer, Caller, Details
from .contenders import AT_SHARE, Contender, Engine, Options

SLOW_MS = 150.0
SLOW_ROUNDS = 4
LEAST_ROUNDS = 2  # even past the time limit
SEED = 0
MIB = 2**20

Image = NDArray[np.uint8]
Guard = Callable[[str, Callable[[], Any]], Any]
"""Runs a step under a name; what it raises is raised again, or ends the process."""


@dataclass(frozen=True)
class Pace:
    """How often. rounds: that count, the first `host_rounds` of them also from array to array.

    warm_ups: calls before, beside the first one; a recording is made in the second call of all and
    replayed from the third on. Slow contenders make one.
    """

    rounds: int
    host_rounds: int
    warm_ups: int


ON_GPU = Pace(30, 12, 4)
QUICK = Pace(2, 1, 1)


@dataclass
class Timing:
    """Of one contender. device_ms, host_ms: by number of the round, from 0. host_ms is from array
    to array. peak_mib: the most of the device's memory that its first call took on top of what was
    there; held_mib: what it kept after its warm-up, recordings included. skipped: the error is that
    there was no time left.
    """

    device_ms: dict[int, float] = field(default_factory=dict)
    enqueue_ms: dict[int, float] = field(default_factory=dict)
    host_ms: dict[int, float] = field(default_factory=dict)
    stages_ms: list[Mapping[str, float]] = field(default_factory=list)
    details: Details = field(default_factory=Details)
    peak_mib: float | None = None
    held_mib: float | None = None
    warm: Lap | None = None
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    skipped: bool = False

    @property
    def is_slow(self) -> bool:
        """Whether it takes part in the first rounds only."""
        return self.warm is not None and self.warm.device_ms > SLOW_MS


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
        cost: tuple[float, float],
    ) -> "Stage":
        """cost: of the heavy and the light upsampler, as of `cost_table`."""
        tensors = [torch.from_numpy(image).to(device) for image in images]

        def k_at_share(difficulty: float | None) -> float:
            return k_of_difficulty(difficulty, *cost)

        return cls(images, tensors, clock, make, k_at_share)


def run_rounds(
    contenders: Sequence[Contender], stage: Stage, guard: Guard, pace: Pace, stop_at: float
) -> dict[Contender, Timing]:
    """Times all contenders until the rounds are done or `perf_counter` reaches stop_at. One that
    raises says so in its `error` and takes part no more.
    """
    race = _Race(stage, guard, pace)
    for contender in contenders:
        if perf_counter() > stop_at:
            race.timings[contender] = Timing(error="no time was left for it", skipped=True)
        else:
            race.attempt(contender, race.warm_up)
    for number in range(pace.rounds):
        if number >= LEAST_ROUNDS and perf_counter() > stop_at:
            break
        runners = race.runners(contenders, number)
        random.Random(SEED + number).shuffle(runners)
        for contender in runners:
            race.attempt(contender, partial(race.run, number=number))
    return race.timings


class _Race:
    """Engines, made at their first use, and what was measured of them."""

    def __init__(self, stage: Stage, guard: Guard, pace: Pace) -> None:
        self._stage, self._guard, self._pace = stage, guard, pace
        self._callers: dict[Engine, Caller] = {}
        self._is_cuda = stage.tensors[0].is_cuda
        self.timings: dict[Contender, Timing] = {}

    def runners(self, contenders: Sequence[Contender], number: int) -> list[Contender]:
        """Those without an error; in later rounds without the slow ones."""
        fit = [c for c in contenders if self.timings[c].error is None]
        return [c for c in fit if number < SLOW_ROUNDS or not self.timings[c].is_slow]

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

    def warm_up(self, contender: Contender) -> None:
        """Loads its engine, measures the memory of a first call, and calls it a few times more."""
        timing = self.timings[contender]
        if contender.engine not in self._callers:
            self._callers[contender.engine] = self._stage.make(contender.engine)
        with self._memory(timing) as first_is_done:
            self._call(contender, 0)
            self._stage.clock.wait()
            first_is_done()
            for _ in range(self._pace.warm_ups):
                timing.warm = self._lap(contender, 0)
                if timing.is_slow:
                    break
        timing.details = self._host_call(contender, 0)[1]

    def run(self, contender: Contender, number: int) -> None:
        """One round: on the device, and in the first ones also from array to array."""
        timing = self.timings[contender]
        lap = self._lap(contender, number)
        timing.device_ms[number], timing.enqueue_ms[number] = lap.device_ms, lap.enqueue_ms
        if number < (1 if timing.is_slow else self._pace.host_rounds):
            timing.host_ms[number], details = self._host_call(contender, number)
            timing.stages_ms.append(details.stage_ms)

    def _lap(self, contender: Contender, number: int) -> Lap:
        warm = self.timings[contender].warm
        hold_ms = 0.1 + (2 * warm.enqueue_ms if warm else 0)
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

    @contextmanager
    def _memory(self, timing: Timing) -> Iterator[Callable[[], None]]:
        """Notes what the body takes of the device's memory; it says when its first call is done."""
        if not self._is_cuda:
            yield lambda: None
            return
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()

        def first_is_done() -> None:
            timing.peak_mib = (torch.cuda.max_memory_allocated() - allocated) / MIB

        yield first_is_done
        torch.cuda.empty_cache()
        timing.held_mib = (torch.cuda.memory_reserved() - reserved) / MIB


def _counts(warning: warnings.WarningMessage) -> bool:
    """Whether it says something about the run, and not about a library's future."""
    return issubclass(warning.category, RuntimeWarning | ResourceWarning)
