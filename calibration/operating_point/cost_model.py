"""Fits how long a call takes to measured calls."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import UsageError
from pcsr.runtime.routing.time_model import Coefficients, Key, TimeModel, Workload

MOST_SPREAD = 1.5
ALTERNATIONS = 5
LEAST_FACTOR = 0.2
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class TimedCalls:
    """Holds the times of calls of one size, scale and share of heavy pixels."""

    size: tuple[int, int]
    """(height, width) of the input."""
    scale: float
    heavy_ratio: float
    work: Workload
    times_ms: tuple[float, ...]

    @property
    def usual_ms(self) -> float:
        """Takes the median of the faster half: what else runs on a machine only ever adds time."""
        fastest = sorted(self.times_ms)[: (len(self.times_ms) + 1) // 2]
        return float(np.median(fastest))


@dataclass(frozen=True)
class Fit:
    """Holds a model, and how far it is from calls that it was not fitted to."""

    model: TimeModel
    median_error: float
    """This and the worst are of |predicted / measured - 1|."""
    worst_error: float
    spread: float
    """90th percentile of call / usual call; the model's own is at most MOST_SPREAD."""
    samples: tuple[TimedCalls, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns what goes into the bundle."""
        measured = [
            {
                "lr_size": list(sample.size),
                "scale": sample.scale,
                "heavy_ratio": sample.heavy_ratio,
                "usual_ms": sample.usual_ms,
                "calls": len(sample.times_ms),
            }
            for sample in self.samples
        ]
        error = {"median": self.median_error, "worst": self.worst_error}
        tried = {"held_out_error": error, "spread": self.spread}
        return asdict(self.model) | tried | {"measured": measured}


def fit(key: Key, samples: Sequence[TimedCalls], held_out: Sequence[TimedCalls]) -> Fit:
    """Fits by least squares of the relative errors, no coefficient negative; then a factor by size,
    and how much longer than usual calls take.

    Raises:
        UsageError: too few samples for so many coefficients.
    """
    if len(samples) < len(fields(Coefficients)):
        raise UsageError(f"{len(samples)} measured cases are too few for a model of the time")
    model = TimeModel(key, _coefficients(samples, ((1.0, 1.0),)), ((1.0, 1.0),), 1.0)
    for _ in range(ALTERNATIONS):
        model = replace(model, factors=_factors(model, samples))
        model = replace(model, coefficients=_coefficients(samples, model.factors))
    spread = _spread([*samples, *held_out])
    model = replace(model, p90_over_p50=min(spread, MOST_SPREAD))
    foreseen = [model.usual_ms(one.work, one.heavy_ratio) / one.usual_ms for one in held_out]
    errors = [abs(relative - 1) for relative in foreseen]
    return Fit(model, float(np.median(errors)), max(errors), spread, (*samples, *held_out))


def _coefficients(
    samples: Sequence[TimedCalls], factors: tuple[tuple[float, float], ...]
) -> Coefficients:
    from scipy.optimize import nnls

    measured = np.array([sample.usual_ms for sample in samples])
    by_size = dict(factors)
    terms = np.stack([_terms(one, by_size.get(one.work.backbone_px, 1.0)) for one in samples])
    found: Numbers = nnls(terms / measured[:, None], np.ones(len(samples)))[0]
    return Coefficients(*map(float, found))


def _terms(sample: TimedCalls, factor: float) -> Numbers:
    """Lists what `Coefficients` are to be multiplied with, in their order."""
    work, ratio = sample.work, sample.heavy_ratio
    heavy_px = ratio * work.output_px
    pixels = np.array([work.backbone_px, work.output_px, heavy_px, heavy_px * (1 - ratio)])
    terms: Numbers = np.array([1.0, *(1e-6 * pixels)])
    terms[:3] *= factor
    return terms


def _factors(model: TimeModel, samples: Sequence[TimedCalls]) -> tuple[tuple[float, float], ...]:
    ratios: dict[int, list[float]] = defaultdict(list)
    for one in samples:
        rest_ms = one.usual_ms - model.heavy_ms(one.work, one.heavy_ratio)
        ratios[one.work.backbone_px].append(rest_ms / model.light_ms(one.work))
    medians = ((float(size), float(np.median(ratios[size]))) for size in sorted(ratios))
    return tuple((size, max(median, LEAST_FACTOR)) for size, median in medians)


def _spread(samples: Sequence[TimedCalls]) -> float:
    relative = [time / sample.usual_ms for sample in samples for time in sample.times_ms]
    return float(max(np.quantile(relative, 0.9), 1.0))
