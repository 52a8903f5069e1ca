"""Interleaved timing: in each round every contender once, in a shuffled order.

What slows the machine for a while then slows all of them, and ratios within a round stay true.
"""

import ctypes
import gc
import random
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from .engines import Engine, Image, Output
from .lineup import Contender, EngineName
from .memory import reason

SEED = 0
SLOW_ROUNDS = 2
PAUSE_S = 0.1  # thread pools of the one before spin for a while; longer than they do
NO_IMAGE = np.empty((0, 0, 3), dtype=np.uint8)
Say = Callable[[str], object]


@dataclass(frozen=True)
class Plan:
    """How to measure. rounds: those that count; one more comes before them and is discarded.

    slow: names of contenders that only take part in the first `SLOW_ROUNDS` that count, without
    warm-up. released: engines that are thrown away after each of their calls, since not all fit in
    memory at once; each timed call then has a warm-up call of its own before it.
    """

    rounds: int
    slow: Collection[str] = ()
    released: Collection[EngineName] = ()

    def takes_part(self, contender: Contender, number: int) -> bool:
        """Whether a contender runs in a round; 0 is the warm-up."""
        if contender.name in self.slow:
            return 1 <= number <= SLOW_ROUNDS
        return 0 <= number <= self.rounds


@dataclass
class Timing:
    """The runs of one contender, oldest first. times_ms: by number of the round, from 1.

    first: its first output, without the image where nothing is to be compared with it.
    """

    times_ms: dict[int, float] = field(default_factory=dict)
    stages_ms: list[dict[str, float]] = field(default_factory=list)
    first: Output | None = None
    error: str | None = None

    def add(self, number: int, output: Output, keep_image: bool) -> None:
        """Keeps the first output, and the times unless this was the warm-up."""
        if self.first is None:
            self.first = output if keep_image else replace(output, image=NO_IMAGE)
        if number > 0:
            self.times_ms[number] = output.total_ms
            self.stages_ms.append(dict(output.stage_ms))


def run_rounds(
    contenders: Sequence[Contender],
    image: Image,
    make: Callable[[EngineName], Engine],
    plan: Plan,
    say: Say,
) -> dict[str, Timing]:
    """Times all contenders. One that raises says so in its `error` and takes part no more."""
    timings = {contender.name: Timing() for contender in contenders}
    stable = _Stable(make, plan.released)
    compared = {name for c in contenders if c.rival for name in (c.name, c.rival)}
    for number in range(plan.rounds + 1):
        runners = [c for c in contenders if plan.takes_part(c, number)]
        runners = [c for c in runners if timings[c.name].error is None]
        random.Random(SEED + number).shuffle(runners)
        say(f"round {number} of {plan.rounds}, {len(runners)} contenders" if number else "warm-up")
        for contender in runners:
            time.sleep(PAUSE_S)
            try:
                output = stable.run(contender, image)
                timings[contender.name].add(number, output, contender.name in compared)
            except Exception as error:  # engines raise many kinds; each is that row's result
                timings[contender.name].error = reason(f"{type(error).__name__}: {error}")
    return timings


class _Stable:
    """Engines, made at their first use and kept, unless they are to be released."""

    def __init__(
        self, make: Callable[[EngineName], Engine], released: Collection[EngineName]
    ) -> None:
        self._make = make
        self._released = released
        self._kept: dict[EngineName, Engine] = {}

    def run(self, contender: Contender, image: Image) -> Output:
        if contender.engine in self._released:
            return self._run_once(contender, image)
        if contender.engine not in self._kept:
            self._kept[contender.engine] = self._make(contender.engine)
        return self._kept[contender.engine](image, contender.options)

    def _run_once(self, contender: Contender, image: Image) -> Output:
        engine = self._make(contender.engine)
        engine(image, contender.options)
        output = engine(image, contender.options)
        del engine
        give_back_memory()
        return output


def give_back_memory() -> None:
    """Frees what is unreachable, and hands it back to the system where the C library can."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
