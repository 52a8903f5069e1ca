"""All cases in turns: in each round every case once, in a shuffled order, sizes together."""

import gc
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from pcsr.text import one_line

from .callers import Caller, Sample
from .cases import Engine, Spec
from .cold import FirstUse
from .plan import Plan

Say = Callable[[str], object]
Tick = Callable[[], object]
SAID = (RuntimeWarning, ResourceWarning)  # of a run, not of a library's future


@dataclass
class Timing:
    """Of one case. samples: by number of the round, from 0. switches_ms: calls right after one with
    another size. notes: what the runtime warned of.
    """

    first: FirstUse
    samples: dict[int, Sample] = field(default_factory=dict)
    switches_ms: list[float] = field(default_factory=list)
    psnr_db: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def host_ms(self) -> list[float]:
        """In the order of the rounds."""
        return [sample.host_ms for sample in self.samples.values()]


def run_rounds(
    specs: Sequence[Spec],
    callers: Mapping[Engine, Caller],
    plan: Plan,
    say: Say = lambda text: None,
    tick: Tick = lambda: None,
) -> dict[str, Timing]:
    """Measures all cases, by their names. tick: is called before each round."""
    race = _Race(callers, plan, say)
    for spec in specs:
        race.warm_up(spec)
    for spec in specs:
        race.settle(spec, specs)
    gc.collect()
    start, number = perf_counter(), 0
    while not _is_done(number, perf_counter() - start, plan, len(specs)):
        say(f"round {number + 1}, {_left(number, perf_counter() - start, plan, len(specs))}")
        tick()
        for spec in turns(specs, number, plan.seed):
            race.turn(spec, number)
        number += 1
    return race.timings


def turns(specs: Sequence[Spec], number: int, seed: int) -> list[Spec]:
    """The order of round `number`: shuffled, but cases of one size one behind the other, so that
    few calls pay for another size.
    """
    rng = random.Random(f"{seed} {number}")
    shapes = list(dict.fromkeys(map(_shape, specs)))
    rng.shuffle(shapes)
    order = []
    for shape in shapes:
        own = [spec for spec in specs if _shape(spec) == shape]
        rng.shuffle(own)
        order += own
    return order


class _Race:
    def __init__(self, callers: Mapping[Engine, Caller], plan: Plan, say: Say) -> None:
        self._callers, self._plan, self._say = callers, plan, say
        self._last: dict[Engine, tuple[object, ...]] = {}
        self.timings: dict[str, Timing] = {}

    def warm_up(self, spec: Spec) -> None:
        """The first call, quality, and calls that are thrown away."""
        caller = self._callers[spec.engine]
        self._say(f"first use of {spec.name}")
        with _noted() as notes:
            timing = self.timings[spec.name] = Timing(caller.first(spec), notes=notes)
            self._say(f"warm-up of {spec.name}")
            start, count = perf_counter(), 0
            while (
                count < caller.least_warm_ups
                or 1000 * (perf_counter() - start) < self._plan.warmup_ms
            ):
                _, result = caller.call(spec)
                if not count and spec.picture.original is not None:
                    timing.psnr_db = _psnr(result.image, spec)
                count += 1
        self._last[spec.engine] = _shape(spec)

    def settle(self, spec: Spec, specs: Sequence[Spec]) -> None:
        """Where its engine meets several sizes: a call right after one with another size."""
        others = [other for other in specs if other.engine == spec.engine]
        other = next((one for one in others if _shape(one) != _shape(spec)), None)
        if other is not None:
            self._switched(other)
            self._switched(spec)

    def turn(self, spec: Spec, number: int) -> None:
        """One measured turn of a case, its shape being the last that its engine met."""
        self._switched(spec)
        timing = self.timings[spec.name]
        with _noted() as notes:
            timing.samples[number] = self._callers[spec.engine].measure(spec)
        timing.notes += [note for note in notes if note not in timing.notes]

    def _switched(self, spec: Spec) -> None:
        if self._last[spec.engine] != _shape(spec):
            ms, _ = self._callers[spec.engine].call(spec)
            self.timings[spec.name].switches_ms.append(ms)
            self._last[spec.engine] = _shape(spec)


def _shape(spec: Spec) -> tuple[object, ...]:
    return spec.picture.size, spec.scale


def _is_done(rounds: int, elapsed_s: float, plan: Plan, cases: int) -> bool:
    return rounds >= plan.iterations and elapsed_s >= plan.duration_s * cases


def _left(rounds: int, elapsed_s: float, plan: Plan, cases: int) -> str:
    """For people."""
    if not rounds:
        return f"at least {plan.iterations}"
    total_s = max(plan.duration_s * cases, elapsed_s / rounds * plan.iterations)
    return f"about {max(0.0, total_s - elapsed_s):.0f} s left"


@contextmanager
def _noted() -> Iterator[list[str]]:
    """What the runtime warns of in the body."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    said = (one_line(str(w.message)) for w in caught if issubclass(w.category, SAID))
    notes += dict.fromkeys(said)


def _psnr(image: NDArray[np.uint8], spec: Spec) -> float | None:
    """Against the original, as pcsr-evaluate: RGB, without a border of ceil(scale) px."""
    from pcsr.metrics import psnr

    assert spec.picture.original is not None
    found = psnr(image, spec.picture.original, math.ceil(spec.scale))
    return found if math.isfinite(found) else None
