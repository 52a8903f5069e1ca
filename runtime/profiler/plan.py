"""Defines how long and how often is measured, after trtexec: `--warmup`, `--duration`,
`--iterations`.
"""

from dataclasses import dataclass

from pcsr.errors import UsageError


@dataclass(frozen=True)
class MeasurementPlan:
    """A plan is how long and how often the cases of a run are measured."""

    warmup_ms: float = 200.0
    """Calls of each case are thrown away for so long, the first two in any case."""
    duration_s: float = 3.0
    """Each case is measured for so long, all of them together for the sum of that."""
    iterations: int = 10
    """Each case is measured at least so often."""
    percentiles: tuple[float, ...] = (50.0, 90.0, 95.0, 99.0)
    """Beside those that are always there."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_ms <= 1e7:
            raise UsageError(f"--warmup must be at least 0 ms, found {self.warmup_ms:g}")
        if not 0 < self.duration_s <= 1e6:
            raise UsageError(f"--duration must be more than 0 seconds, found {self.duration_s:g}")
        if self.iterations < 1:
            raise UsageError(f"--iterations must be at least 1, found {self.iterations}")
        wrong = [point for point in self.percentiles if not 0 < point < 100]
        if wrong:
            raise UsageError(f"a percentile lies between 0 and 100, found {wrong[0]:g}")


def parse_percentiles(text: str) -> tuple[float, ...]:
    """Parses comma-separated numbers.

    Raises:
        UsageError: anything else.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"unknown percentiles {text!r}; expected numbers with commas, as 50,90,99"
        ) from None
