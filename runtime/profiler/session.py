"""All cases of a run: first uses, warm-ups, and rounds in which sizes come together."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from pcsr.metrics import Pixels

from .cases import Setup, Spec
from .measuring.rounds import Series, turns
from .opened import OpenedBundles
from .plan import MeasurementPlan

Say = Callable[[str], object]


@dataclass
class CaseSeries(Series):
    """Holds what was measured of one case."""

    switches_ms: list[float] = field(default_factory=list)
    """Wall times of calls right after one with another size."""
    psnr_db: float | None = None
    """Against the original; None where there is none, or nothing differs."""


def measure_cases(
    specs: Sequence[Spec],
    bundles: OpenedBundles,
    plan: MeasurementPlan,
    say: Say = lambda text: None,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, CaseSeries]:
    """Measures all cases, by their names. tick: is called before each round."""
    session = _Session(bundles, plan, say)
    for spec in specs:
        session.warm_up(spec)
    for spec in specs:
        session.settle(spec, specs)
    pace = plan.pace(len(specs))

    def begin(number: int, elapsed_s: float) -> None:
        left = f"about {pace.left_s(number, elapsed_s):.0f} s left" if number else ""
        say(f"round {number + 1}, {left or f'at least {pace.rounds}'}")
        tick()

    for spec, number in turns(specs, pace, shape, begin=begin):
        session.turn(spec, number)
    return session.series


def shape(spec: Spec) -> tuple[object, ...]:
    """Gives what makes a call take longer after one with another."""
    return spec.picture.size, spec.scale


class _Session:
    def __init__(self, bundles: OpenedBundles, plan: MeasurementPlan, say: Say) -> None:
        self._bundles, self._plan, self._say = bundles, plan, say
        self._last: dict[Setup, tuple[object, ...]] = {}
        self.series: dict[str, CaseSeries] = {}

    def warm_up(self, spec: Spec) -> None:
        """Makes the first call, measures quality, and makes calls that are thrown away."""
        bundle = self._bundles[spec.setup]
        series = self.series[spec.name] = CaseSeries()
        with series.noted():
            self._say(f"first use of {spec.name}")
            series.first = bundle.first(spec)
            self._say(f"warm-up of {spec.name}")
            start, count = perf_counter(), 0
            while (
                count < bundle.least_warm_ups
                or 1000 * (perf_counter() - start) < self._plan.warmup_ms
            ):
                _, answer = bundle.call(spec)
                if not count and spec.picture.original is not None:
                    series.psnr_db = _psnr(answer.image, spec.picture.original, spec.scale)
                count += 1
        self._last[spec.setup] = shape(spec)

    def settle(self, spec: Spec, specs: Sequence[Spec]) -> None:
        """Makes a call right after one with another size, where its bundle meets several."""
        others = [other for other in specs if other.setup == spec.setup]
        other = next((one for one in others if shape(one) != shape(spec)), None)
        if other is not None:
            self._switch(other)
            self._switch(spec)

    def turn(self, spec: Spec, number: int) -> None:
        """Takes one measured turn of a case, its shape being the last that its bundle met."""
        self._switch(spec)
        series = self.series[spec.name]
        with series.noted():
            series.rounds[number] = self._bundles[spec.setup].measure(spec)

    def _switch(self, spec: Spec) -> None:
        if self._last[spec.setup] != shape(spec):
            ms, _ = self._bundles[spec.setup].call(spec)
            self.series[spec.name].switches_ms.append(ms)
            self._last[spec.setup] = shape(spec)


def _psnr(image: Pixels, original: Pixels, scale: float) -> float | None:
    """Compares as pcsr-evaluate does: RGB, without a border of ceil(scale) px."""
    from pcsr.metrics import psnr

    found = psnr(image, original, math.ceil(scale))
    return found if math.isfinite(found) else None
