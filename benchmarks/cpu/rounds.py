"""The contenders of `make bench` in interleaved rounds."""

import ctypes
import gc
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from benchmarks.contenders import Contender, Family, Implementation
from benchmarks.image import Image
from benchmarks.series import AllSeries, ContenderSeries
from pcsr.runtime.profiler.measuring.calls import Answer, Caller, Measurement, timed
from pcsr.runtime.profiler.measuring.rounds import Pace, turns

SLOW_ROUNDS = 2
PAUSE_S = 0.1  # thread pools of the one before spin for a while; longer than they do
Say = Callable[[str], object]
Open = Callable[[Implementation], Caller]


@dataclass(frozen=True)
class Care:
    """Says who cannot be measured like the others."""

    slow: Collection[str] = ()
    """Names of contenders that take part in the first `SLOW_ROUNDS` alone, without warm-up."""
    released: Collection[Family] = ()
    """Implementations that are thrown away after each call, which then has a warm-up of its own."""


def run_rounds(
    contenders: Sequence[Contender], image: Image, opener: Open, rounds: int, care: Care, say: Say
) -> AllSeries:
    """Times all contenders. One that raises says so in its `error` and takes part no more."""
    everyone = {c.name: ContenderSeries(is_slow=c.name in care.slow) for c in contenders}
    compared = {name for c in contenders if c.published for name in (c.name, c.published)}
    callers = _Callers(opener, care.released)

    def takes_part(contender: Contender, number: int) -> bool:
        series = everyone[contender.name]
        return series.error is None and (not series.is_slow or 0 <= number < SLOW_ROUNDS)

    def begin(number: int, elapsed_s: float) -> None:
        runners = sum(takes_part(contender, number) for contender in contenders)
        text = f"round {number + 1} of {rounds}, {runners} contenders"
        say(text if number >= 0 else "warm-up")

    def turn(contender: Contender, number: int) -> None:
        series = everyone[contender.name]
        ms, answer = callers.call(contender, image)
        details = answer.details()
        if series.details is None:
            series.details = details
            series.image = answer.image if contender.name in compared else None
        if number >= 0:
            series.rounds[number] = Measurement(ms, details.stage_ms, ms, details.pixels)

    pace = Pace(rounds, warm_ups=1)
    for contender, number in turns(contenders, pace, takes_part=takes_part, begin=begin):
        time.sleep(PAUSE_S)
        everyone[contender.name].attempt(partial(turn, contender, number))
    return everyone


class _Callers:
    """Callers, opened at their first use and kept, unless they are to be released."""

    def __init__(self, opener: Open, released: Collection[Family]) -> None:
        self._open, self._released = opener, released
        self._kept: dict[Implementation, Caller] = {}

    def call(self, contender: Contender, image: Image) -> tuple[float, Answer]:
        implementation = contender.implementation
        caller = self._kept.get(implementation) or self._open(implementation)
        call = partial(caller, image, contender.options)
        if implementation.family not in self._released:
            self._kept[implementation] = caller
            return timed(call)
        call()  # warms up
        found = timed(call)
        del caller, call
        give_back_memory()
        return found


def give_back_memory() -> None:
    """Frees what is unreachable, and hands it back to the system where the C library can."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
