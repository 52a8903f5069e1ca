"""What a trial finds: of several ways to compute the same, the fastest that is right."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TrialOutcome:
    """Holds what a trial found."""

    winner: str
    times_ms: Mapping[str, float]
    """Milliseconds of the candidates that are right, by name."""
    dropped: Mapping[str, str]
    """Why the others are dropped, by name."""
    was_disturbed: bool = False
    """Whether other processes used the cores meanwhile, so that times mean little."""

    def __str__(self) -> str:
        times = [f"{name} {time:.3f}" for name, time in self.times_ms.items()]
        reasons = [f"{name}: {reason}" for name, reason in self.dropped.items()]
        return f"{self.winner} ({', '.join([*times, *reasons])})"


def reason_of(error: Exception) -> str:
    """Gives the first line of an error, or its type."""
    return str(error).partition("\n")[0] or type(error).__name__
