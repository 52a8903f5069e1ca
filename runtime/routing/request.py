"""Defines what a caller asks of the routing, in one frozen record from the command line to the
kernels.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypedDict

from pcsr.errors import UsageError
from pcsr.runtime.inputs.arguments import checked, flag, number, refuse_unknown, text

LARGEST_K = 1e6  # beyond any logit, and far from overflow
KEPT_REQUESTS = 64


ARGUMENTS = {
    "k": number(
        f"be a number within ±{LARGEST_K:g}",
        lambda k: abs(k) <= LARGEST_K,
        optional=True,
        advice="use 0 for the classifier's own choice",
    ),
    "adaptive": flag(),
    "heavy_ratio": number("lie in [0, 1]", lambda share: 0 <= share <= 1, optional=True),
    "preset": text("be the name of a preset, as 'fast'", optional=True),
    "budget_ms": number(
        "be a number of milliseconds above 0", lambda ms: 0 < ms < math.inf, optional=True
    ),
    "max_psnr_loss_db": number(
        "be a number of dB from 0 on", lambda loss: 0 <= loss < math.inf, optional=True
    ),
    "adaptive_budget": flag(optional=True),
    "refine": flag(optional=True),
}
"""What each field of a `RoutingRequest` may be."""


class CallOptions(TypedDict, total=False):
    """The keywords of a call that become fields of its `RoutingRequest`, but for k."""

    adaptive: bool
    heavy_ratio: float | None
    preset: str | None
    budget_ms: float | None
    max_psnr_loss_db: float | None
    adaptive_budget: bool | None
    refine: bool | None


class RoutingOptions(CallOptions, total=False):
    """All fields of a `RoutingRequest`, as keywords."""

    k: float | None


@dataclass(frozen=True)
class RoutingRequest:
    """Describes how an image is to be routed. At most one of the ways is named; with none of them
    (k is None, too) the upscaler's default counts, or k = 0 where that names none either.

    Raises:
        UsageError: a value of another type or out of its range, or two ways at once.
    """

    k: float | None = None
    """How much an upsampler's cost counts against its probability: 0 trusts the classifier alone,
    larger is lighter."""
    adaptive: bool = False
    """Whether the image's difficulties are split into M clusters (ADM, paper section 3.3)."""
    heavy_ratio: float | None = None
    """The share in [0, 1] of the pixels, the most difficult ones, for the heavier half."""
    preset: str | None = None
    """The name of a calibrated k: quality, balanced, fast."""
    budget_ms: float | None = None
    """The time within which nine of ten calls end, with as many heavy pixels as that allows."""
    max_psnr_loss_db: float | None = None
    """The mean loss in dB against all heavy that the fewest heavy pixels stay within."""
    adaptive_budget: bool | None = None
    """Whether the budget's prediction is corrected by the frames before; None takes the default."""
    refine: bool | None = None
    """Whether light pixels beside heavy ones are smoothed (paper section 3.4); None takes the
    default, else what the bundle says: yes, but for networks that learnt from a teacher."""

    def __post_init__(self) -> None:
        for name, value in checked(vars(self), ARGUMENTS).items():
            object.__setattr__(self, name, value)
        self._check_ways()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "RoutingRequest":
        """Makes a request of a call's keywords; raises UsageError for an unknown one."""
        try:
            return _kept(**options)
        except TypeError:  # an unknown one, or a value that has no hash, and is none that is taken
            refuse_unknown(options, ARGUMENTS)
            return cls(**options)

    @classmethod
    def each(
        cls,
        k: Iterable[float],
        adaptive: bool,
        heavy_ratio: Iterable[float],
        refine: bool | None = None,
        preset: Iterable[str] = (),
        budget_ms: Iterable[float] = (),
    ) -> tuple["RoutingRequest", ...]:
        """Makes a request for each k (0 where none is named), share, preset and budget, and one
        for ADM, without repeats.
        """
        requests = [cls(k=one, refine=refine) for one in tuple(k) or (0.0,)]
        requests += [cls(adaptive=True, refine=refine)] if adaptive else []
        requests += [cls(heavy_ratio=ratio, refine=refine) for ratio in heavy_ratio]
        requests += [cls(preset=name, refine=refine) for name in preset]
        requests += [cls(budget_ms=budget, refine=refine) for budget in budget_ms]
        return tuple(dict.fromkeys(requests))

    @property
    def routes(self) -> bool:
        """Tells whether it asks for more than the classifier's own choice."""
        return bool(self._ways)

    @property
    def needs_calibration(self) -> bool:
        """Tells whether the bundle must hold an operating point."""
        return (self.preset, self.budget_ms, self.max_psnr_loss_db) != (None, None, None)

    @property
    def needs_statistics(self) -> bool:
        """Tells whether the whole image must be classified before its first pixel can be routed."""
        return self.adaptive or self.heavy_ratio is not None

    @property
    def label(self) -> str:
        """Names the way of routing in tables and curves: k=0, adaptive, heavy=0.2, preset=fast,
        budget=40ms.
        """
        if self.preset is not None:
            return f"preset={self.preset}"
        if self.budget_ms is not None:
            return f"budget={self.budget_ms:.12g}ms"
        if self.max_psnr_loss_db is not None:
            return f"loss={self.max_psnr_loss_db:.12g}dB"
        if self.heavy_ratio is not None:
            return f"heavy={self.heavy_ratio:.12g}"
        return "adaptive" if self.adaptive else f"k={self.cost_weight:.12g}"

    @property
    def cost_weight(self) -> float:
        """k, or 0 where none is named."""
        return self.k or 0.0

    @property
    def is_refined(self) -> bool:
        """Tells whether light pixels beside heavy ones are smoothed."""
        return self.refine is not False

    def or_else(self, default: "RoutingRequest") -> "RoutingRequest":
        """Fills in what it leaves open: its way, its refinement and the correction of a budget."""
        chosen = default if self.k is None and not self.routes else self
        corrects = _first(self.adaptive_budget, default.adaptive_budget)
        return replace(
            chosen,
            adaptive_budget=None if chosen.budget_ms is None else bool(corrects),
            refine=_first(self.refine, default.refine),
        )

    @property
    def _ways(self) -> list[str]:
        named = {
            "k": self.k or None,
            "adaptive": self.adaptive or None,
            "heavy_ratio": self.heavy_ratio,
            "preset": self.preset,
            "budget_ms": self.budget_ms,
            "max_psnr_loss_db": self.max_psnr_loss_db,
        }
        return [name for name, value in named.items() if value is not None]

    def _check_ways(self) -> None:
        ways = self._ways
        calibrated = [way for way in ways if way in ("preset", "budget_ms", "max_psnr_loss_db")]
        if calibrated and self.k == 0:
            raise UsageError(f"k and {calibrated[0]} exclude each other; leave k out")
        if {"adaptive", "heavy_ratio"} <= set(ways) <= {"k", "adaptive", "heavy_ratio"}:
            raise UsageError("adaptive and heavy_ratio exclude each other; choose one")
        if len(ways) > 1 and set(ways) <= {"k", "adaptive", "heavy_ratio"}:
            raise UsageError("k is not used with adaptive or heavy_ratio; leave it at 0")
        if len(ways) > 1:
            raise UsageError(f"{' and '.join(ways)} exclude each other; choose one")


_kept = lru_cache(KEPT_REQUESTS, typed=True)(RoutingRequest)


def _first(given: bool | None, default: bool | None) -> bool | None:
    return default if given is None else given
