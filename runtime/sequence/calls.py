"""How a frame of a sequence is computed, and what that took."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.timing import Stopwatch, summed_stages


@dataclass(frozen=True)
class Call:
    """What counts for one frame: presets and budgets are resolved."""

    scale: float
    request: RoutingRequest

    def continues(self, other: "Call", before: NDArray[Any], frame: NDArray[Any]) -> bool:
        """Tells whether a frame of another call can be compared with the one before."""
        same_way = self.request == other.request or (
            self.request.needs_statistics and other.request.needs_statistics
        )
        refines = self.request.is_refined == other.request.is_refined
        alike = before.shape == frame.shape and before.dtype == frame.dtype
        return alike and same_way and refines and self.scale == other.scale


class Clock:
    """The times of a frame: of its own stages, and those of a call within it."""

    def __init__(self, cancellation: Cancellation | None) -> None:
        self.watch = Stopwatch(cancellation)
        self._within: dict[str, float] = {}

    def add(self, stage_ms: Mapping[str, float]) -> None:
        """Adds the stages of a call."""
        self._within = summed_stages([self._within, stage_ms])

    def times(self) -> tuple[dict[str, float], float]:
        """Gives the milliseconds by stage, and of all."""
        total_ms = self.watch.total_ms
        return summed_stages([self.watch.stage_ms, self._within]), total_ms
