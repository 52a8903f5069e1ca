"""Learns from finished calls how much longer they take than predicted."""

import statistics
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

REMEMBERED = 5  # calls; their median shrugs off two outliers
BOUNDS = (0.05, 20.0)
SETTLING = 2  # first calls of a shape: memory is taken, kernels are compiled, graphs recorded
SHAPES = 64

Ready = Callable[[], float | None]
"""Gives the milliseconds that a call took; None while it is not finished."""


class Feedback:
    """Keeps the factor between measured and predicted times. Any number of threads may use it;
    nothing in it waits.
    """

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=REMEMBERED)
        self._pending: deque[tuple[float, Ready]] = deque(maxlen=SHAPES)
        self._seen: OrderedDict[Hashable, int] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def factor(self) -> float:
        """The median of the last calls' measured / predicted; 1 before the first."""
        with self._lock:
            self._collect()
            if not self._ratios:
                return 1.0
            return min(max(statistics.median(self._ratios), BOUNDS[0]), BOUNDS[1])

    @property
    def has_learnt(self) -> bool:
        """Tells whether any call has counted."""
        with self._lock:
            self._collect()
            return bool(self._ratios)

    def expect(self, shape: Hashable, predicted_ms: float, ready: Ready) -> None:
        """Notes a call that was started. shape: what it has in common with calls that settle it."""
        with self._lock:
            count = self._seen[shape] = self._seen.get(shape, 0) + 1
            self._seen.move_to_end(shape)
            if len(self._seen) > SHAPES:
                self._seen.popitem(last=False)
            if count > SETTLING and predicted_ms > 0:
                self._pending.append((predicted_ms, ready))
                self._collect()

    def _collect(self) -> None:
        waiting = []
        while self._pending:
            predicted_ms, ready = self._pending.popleft()
            took_ms = ready()
            if took_ms is None:
                waiting.append((predicted_ms, ready))
            else:
                self._ratios.append(took_ms / predicted_ms)
        self._pending.extend(waiting)
