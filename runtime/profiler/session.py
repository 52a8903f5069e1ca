"""All cases of a run: first uses, warm-ups, and rounds in which sizes come together."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from pcsr.metrics import psnr

from .cases import Setup, Spec
from .measuring.rounds import Pace, Series, turns
from .opened import OpenedBundle, OpenedBundles
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
    everyone = {spec.name: CaseSeries() for spec in specs}
    last: dict[Setup, tuple[object, ...]] = {}

    def switch(spec: Spec) -> None:
        """Makes a call of its own where the last one of the bundle had another shape."""
        if last[spec.setup] != shape(spec):
            everyone[spec.name].switches_ms.append(bundles[spec.setup].call(spec)[0])
            last[spec.setup] = shape(spec)

    def begin(number: int, elapsed_s: float) -> None:
        left = f"about {pace.left_s(number, elapsed_s):.0f} s left" if number else ""
        say(f"round {number + 1}, {left or f'at least {pace.rounds}'}")
        tick()

    for spec in specs:
        series = everyone[spec.name]
        with series.noted():
            _warm_up(spec, bundles[spec.setup], series, plan, say)
        last[spec.setup] = shape(spec)
    for spec in specs:
        mates = (other for other in specs if other.setup == spec.setup)
        another = next((other for other in mates if shape(other) != shape(spec)), None)
        if another is not None:
            switch(another)
            switch(spec)
    pace = Pace(plan.iterations, duration_s=plan.duration_s * len(specs), seed=plan.seed)
    for spec, number in turns(specs, pace, shape, begin=begin):
        switch(spec)
        with everyone[spec.name].noted():
            everyone[spec.name].rounds[number] = bundles[spec.setup].measure(spec)
    return everyone


def shape(spec: Spec) -> tuple[object, ...]:
    """Gives what makes a call take longer after one with another."""
    return spec.picture.size, spec.scale


def _warm_up(
    spec: Spec, bundle: OpenedBundle, series: CaseSeries, plan: MeasurementPlan, say: Say
) -> None:
    """Makes the first call, measures quality, and makes calls that are thrown away."""
    say(f"first use of {spec.name}")
    series.first = bundle.first(spec)
    say(f"warm-up of {spec.name}")
    start, count = perf_counter(), 0
    while count < bundle.least_warm_ups or 1000 * (perf_counter() - start) < plan.warmup_ms:
        _, answer = bundle.call(spec)
        if not count and spec.picture.original is not None:
            # As pcsr-evaluate: RGB, without a border of ceil(scale) px.
            found = psnr(answer.image, spec.picture.original, math.ceil(spec.scale))
            series.psnr_db = found if math.isfinite(found) else None
        count += 1
