"""Interleaved rounds: in each of them every entry once, in a shuffled order.

What slows the machine for a while then slows all of them, and ratios within a round stay true.
"""

import gc
import math
import random
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter
from typing import TypeVar

from pcsr.text import one_line

from .calls import Measurement
from .first_use import FirstUse
from .statistics import grouped

T = TypeVar("T")
LEAST_ROUNDS = 2  # even where the time is over
LONGEST_REASON = 200  # characters
SAID = (RuntimeWarning, ResourceWarning)  # of a run, not of a library's future


@dataclass(frozen=True)
class Pace:
    """A pace is how often and how long entries are measured."""

    rounds: int
    """So many count, or more."""
    warm_ups: int = 0
    """So many come before them and do not count; their numbers are negative."""
    duration_s: float = 0.0
    """Rounds go on for at least so long."""
    stop_at: float = math.inf
    """Of `perf_counter`: when no round begins any more, but for the first `LEAST_ROUNDS`."""
    seed: int = 0

    def is_over(self, number: int, elapsed_s: float) -> bool:
        """Tells whether round `number` does not begin. elapsed_s: since the first that counts."""
        if number >= LEAST_ROUNDS and perf_counter() > self.stop_at:
            return True
        return number >= self.rounds and elapsed_s >= self.duration_s

    def left_s(self, number: int, elapsed_s: float) -> float:
        """Guesses the seconds that the rounds from `number` on will take; at least one is done."""
        return max(0.0, max(self.duration_s, elapsed_s / number * self.rounds) - elapsed_s)


def turns(
    entries: Sequence[T],
    pace: Pace,
    shape: Callable[[T], Hashable] = lambda entry: None,
    takes_part: Callable[[T, int], bool] = lambda entry, number: True,
    begin: Callable[[int, float], object] = lambda number, elapsed_s: None,
) -> Iterator[tuple[T, int]]:
    """Yields each entry whose turn it is, with the number of its round, from 0.

    shape: entries of the same come one behind the other, so that few calls pay for another one.
    takes_part: whether an entry does, asked when its round begins. begin: is told of each round,
    and the seconds since the first that counts.
    """
    gc.collect()
    start = perf_counter()
    for number in count(-pace.warm_ups):
        if number <= 0:
            start = perf_counter()
        elapsed_s = perf_counter() - start
        if number >= 0 and pace.is_over(number, elapsed_s):
            return
        runners = [entry for entry in entries if takes_part(entry, number)]
        begin(number, elapsed_s)
        for entry in _shuffled(runners, random.Random(f"{pace.seed} {number}"), shape):
            yield entry, number


def _shuffled(
    entries: Sequence[T], rng: random.Random, shape: Callable[[T], Hashable]
) -> Iterator[T]:
    shapes = grouped(entries, shape)
    for key in rng.sample(list(shapes), len(shapes)):
        yield from rng.sample(shapes[key], len(shapes[key]))


@dataclass
class Series:
    """Holds what was measured of one entry."""

    rounds: dict[int, Measurement] = field(default_factory=dict)
    """The measurement of each round, by its number from 0."""
    first: FirstUse | None = None
    notes: list[str] = field(default_factory=list)
    """What the runtime warned of, each once."""
    error: str | None = None
    """Why it takes part no more."""

    @property
    def times_ms(self) -> dict[int, float]:
        """Gives the time that counts, by round."""
        return {number: m.ms for number, m in self.rounds.items() if m.ms is not None}

    @property
    def host_ms(self) -> list[float]:
        """Gives wall times from array to array, in the order of the rounds."""
        return [m.host_ms for m in self.rounds.values() if m.host_ms is not None]

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Notes what the runtime warns of in the body."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        said = (one_line(str(w.message)) for w in caught if issubclass(w.category, SAID))
        self.notes += [note for note in dict.fromkeys(said) if note not in self.notes]

    def attempt(self, step: Callable[[], object]) -> None:
        """Takes a step; its warnings are noted, and what it raises is the error of this series."""
        with self.noted():
            try:
                step()
            except Exception as error:  # foreign callers raise many kinds; each is a result here
                self.error = reason(error)
        if self.error is not None:
            gc.collect()  # what the frames of the error held


def reason(why: Exception | str) -> str:
    """Puts it into one short line."""
    line = one_line(why if isinstance(why, str) else f"{type(why).__name__}: {why}")
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 1]}…"
