"""Chooses named operating points by what they lose."""

from collections.abc import Mapping, Sequence

from pcsr.errors import UsageError
from pcsr.runtime.routing.operating_point import Point

BOUNDS_DB = {"quality": 0.01, "balanced": 0.05, "fast": 0.2}


def choose(points: Sequence[Point], bounds_db: Mapping[str, float]) -> dict[str, Point]:
    """Takes for each bound on the mean loss against all heavy the lightest point of k within it."""
    by_k = [point for point in points if point.k is not None]
    return {
        name: max(
            (point for point in by_k if point.loss_db <= bound_db), key=lambda point: point.k or 0.0
        )
        for name, bound_db in bounds_db.items()
    }


def check_bounds(bounds_db: Mapping[str, float]) -> None:
    """Raises UsageError unless the bounds are losses, the later the larger."""
    values = list(bounds_db.values())
    if not all(0 <= value < float("inf") for value in values) or sorted(values) != values:
        shown = ", ".join(f"{name} {value:g}" for name, value in bounds_db.items())
        raise UsageError(f"expected losses in dB from 0 on, none below the one before: {shown}")
