"""How long and how often is measured, after trtexec: `--warmup`, `--duration`, `--iterations`."""

from dataclasses import dataclass

from pcsr.errors import UsageError

SEED = 0
TRACED = 3  # calls of each case


@dataclass(frozen=True)
class Plan:
    """warmup_ms: calls of each case are thrown away for so long, the first two in any case.
    duration_s: each case is measured for so long, all of them together for the sum of that.
    iterations: and each at least so often. percentiles: beside those that are always there.
    """

    warmup_ms: float = 200.0
    duration_s: float = 3.0
    iterations: int = 10
    percentiles: tuple[float, ...] = (50.0, 90.0, 95.0, 99.0)
    seed: int = SEED

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
    """From comma-separated numbers.

    Raises:
        UsageError: anything else.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"unknown percentiles {text!r}; expected numbers with commas, as 50,90,99"
        ) from None
