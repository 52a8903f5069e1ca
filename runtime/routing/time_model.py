"""Predicts how long a call takes and which share of heavy pixels fits a budget, by what
pcsr-calibrate has fitted on a machine.

    time = factor(backbone_px) * (constant + backbone * backbone_px + output * output_px)
           + heavy * heavy_px + mixed * heavy_px * (1 - heavy_px / output_px)

The last term is there because heavy pixels cost more each where they lie scattered; the factor,
because large images leave the caches and small ones leave cores without work.
"""

import math
from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pcsr.reading.json import number, text

MOST_THREADS = 2**16
STEPS = 50  # of a bisection of [0, 1]


@dataclass(frozen=True)
class Key:
    """Names what times depend on, but for the image and its heavy pixels."""

    machine: str
    """The name of the processor or GPU."""
    device: str
    """`cpu` or `cuda`."""
    backend: str
    precision: str
    passes: str
    """What follows the backbone, as `Upscaler.passes`."""
    threads: int
    """How many threads of the CPU compute; 0 on a GPU."""
    arrays: str = "host"
    """Whether images come from and go to the `host`, or stay on the `device`."""

    def __str__(self) -> str:
        where = f"{self.device} ({self.machine}), {self.backend}, {self.precision}, {self.passes}"
        threads = f", {self.threads} threads" if self.threads else ""
        return f"{where}{threads}, images on the {self.arrays}"


@dataclass(frozen=True)
class Workload:
    """Holds what one call has to do, whatever is heavy."""

    backbone_px: int
    """The input pixels that the backbone computes, halos and repeated passes included."""
    output_px: int


@dataclass(frozen=True)
class Coefficients:
    """The fitted numbers of a `TimeModel`; none is negative."""

    constant_ms: float
    backbone_ns: float
    output_ns: float
    heavy_ns: float
    mixed_ns: float


@dataclass(frozen=True)
class TimeModel:
    """Predicts times of calls by their `heavy_ratio`."""

    key: Key
    coefficients: Coefficients
    factors: tuple[tuple[float, float], ...]
    """(backbone_px, factor) by size, interpolated over the logarithm of the size, level outside."""
    p90_over_p50: float
    """How much longer than usual one call in ten takes."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "TimeModel":
        """Reads the bundle's JSON. Raises KeyError, TypeError or ValueError where it is damaged."""
        named = data["key"]
        threads = int(number(named["threads"], 0, MOST_THREADS))
        names = [entry.name for entry in fields(Key) if entry.name != "threads"]
        key = Key(**{name: text(named[name]) for name in names}, threads=threads)
        given = data["coefficients"]
        values = {entry.name: number(given[entry.name], 0) for entry in fields(Coefficients)}
        factors = tuple((number(size), number(factor)) for size, factor in data["factors"])
        spread = number(data["p90_over_p50"], 1)
        if not factors or min(value for pair in factors for value in pair) <= 0:
            raise ValueError(f"factors {factors!s:.80}")
        return cls(key, Coefficients(**values), tuple(sorted(factors)), spread)

    def usual_ms(self, work: Workload, ratio: float) -> float:
        """Predicts the median time of a call."""
        light_ms = self.factor(work.backbone_px) * self.light_ms(work)
        return light_ms + self.heavy_ms(work, ratio)

    def light_ms(self, work: Workload) -> float:
        """Predicts the part that does not depend on the heavy pixels, without the factor."""
        c = self.coefficients
        pixels_ns = c.backbone_ns * work.backbone_px + c.output_ns * work.output_px
        return c.constant_ms + 1e-6 * pixels_ns

    def heavy_ms(self, work: Workload, ratio: float) -> float:
        """Predicts what the heavy pixels add."""
        c = self.coefficients
        return 1e-6 * ratio * work.output_px * (c.heavy_ns + c.mixed_ns * (1 - ratio))

    def factor(self, backbone_px: int) -> float:
        """Interpolates the factor of a size."""
        sizes, factors = zip(*self.factors, strict=True)
        at = bisect(sizes, backbone_px)
        if at in (0, len(sizes)):
            return float(factors[min(at, len(sizes) - 1)])
        low, high = math.log(sizes[at - 1]), math.log(sizes[at])
        share = (math.log(backbone_px) - low) / (high - low)
        return float(factors[at - 1] + share * (factors[at] - factors[at - 1]))

    def safe_ms(self, work: Workload, ratio: float) -> float:
        """Predicts the time that nine calls of ten keep to."""
        return self.p90_over_p50 * self.usual_ms(work, ratio)

    def ratio_within(self, budget_ms: float, work: Workload) -> float | None:
        """Finds the largest share of heavy pixels that nine of ten calls compute within a budget;
        None where it does not suffice for light ones alone.
        """
        if self.safe_ms(work, 0.0) > budget_ms:
            return None
        if self.safe_ms(work, 1.0) <= budget_ms:
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.safe_ms(work, middle) <= budget_ms else (low, middle)
        return low
