"""What the server's metrics port tells of a model, in Prometheus's terms."""

import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

from .service import Answer
from .times import STAGES

OUTCOMES = ("ok", "invalid", "refused", "cancelled", "failed")
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
REQUESTS, STAGE = "pcsr_requests_total", "pcsr_stage_seconds"
INPUT, OUTPUT = "pcsr_input_pixels_total", "pcsr_output_pixels_total"
HEAVY, BUDGETS = "pcsr_heavy_pixels_total", "pcsr_budgets_total"
PENDING, PENDING_BYTES = "pcsr_pending_requests", "pcsr_pending_bytes"

COUNTERS = {
    REQUESTS: ("Requests by outcome.", "outcome", OUTCOMES),
    INPUT: ("Pixels of the images that were upscaled.", "", ("",)),
    OUTPUT: ("Pixels of the results.", "", ("",)),
    HEAVY: ("Pixels of the results that the heavier half of the upsamplers made.", "", ("",)),
    BUDGETS: ("Requests with a budget, by whether it was kept.", "outcome", ("kept", "missed")),
}
GAUGES = {
    PENDING: "Requests that wait or are at work.",
    PENDING_BYTES: "Bytes of their images, as they came.",
}
SECONDS = "Seconds that requests were queued, decoded, computed and encoded."


class Monitor:
    """Counts the requests of one instance of a model, whose threads may all tell it.

    Args:
        utils: the server's `triton_python_backend_utils`.
        labels: of every metric: model, version, device.
    """

    def __init__(self, utils: Any, labels: Mapping[str, str]) -> None:  # noqa: ANN401
        # Two threads that change one metric at once kill the server: a metric has one place in the
        # memory that it shares with this process (Triton 2.51).
        self._lock = threading.Lock()
        self._families: list[Any] = []  # a metric ends with its family
        self._metrics: dict[tuple[str, str], Any] = {}
        try:
            self._make(utils, dict(labels))
        except Exception as error:  # the server has metrics switched off, or not of this kind
            self._metrics = {}
            utils.Logger.log_warn(f"pcsr: the server takes no metrics of its own ({error})")

    def _make(self, utils: Any, labels: dict[str, str]) -> None:  # noqa: ANN401
        kinds = utils.MetricFamily
        for name, (text, label, values) in COUNTERS.items():
            family = self._family(utils, name, text, kinds.COUNTER)
            for value in values:
                own = {label: value} if label else {}
                self._metrics[name, value] = family.Metric(labels=labels | own)
        for name, text in GAUGES.items():
            family = self._family(utils, name, text, kinds.GAUGE)
            self._metrics[name, ""] = family.Metric(labels=labels)
        family = self._family(utils, STAGE, SECONDS, kinds.HISTOGRAM)
        for stage in STAGES:
            own = labels | {"stage": stage}
            self._metrics[STAGE, stage] = family.Metric(labels=own, buckets=list(BUCKETS_S))

    def _family(self, utils: Any, name: str, text: str, kind: Any) -> Any:  # noqa: ANN401
        family = utils.MetricFamily(name=name, description=text, kind=kind)
        self._families.append(family)
        return family

    def pending(self, requests: int, held_bytes: int) -> None:
        """Says how many requests are there, and how many bytes their images hold."""
        with self._lock:
            self._change("set", PENDING, requests)
            self._change("set", PENDING_BYTES, held_bytes)

    def ended(self, outcome: str) -> None:
        """Counts a request by one of OUTCOMES."""
        with self._lock:
            self._change("increment", REQUESTS, 1, outcome)

    def answered(self, answer: Answer) -> None:
        """Counts what was computed."""
        stats, budget_ms = answer.stats, answer.budget_ms
        pixels = stats.hr_size[0] * stats.hr_size[1]
        with self._lock:
            count = partial(self._change, "increment")
            count(INPUT, stats.lr_size[0] * stats.lr_size[1])
            count(OUTPUT, pixels)
            count(HEAVY, round(stats.heavy_share * pixels))
            if budget_ms is not None:
                count(BUDGETS, 1, "kept" if stats.total_ms <= budget_ms else "missed")
            for stage, ms in answer.stage_ms.items():
                self._change("observe", STAGE, 1e-3 * ms, stage)

    def close(self) -> None:
        """Gives the metrics back, before the server ends."""
        with self._lock:
            self._metrics.clear()
            self._families.clear()

    def _change(self, how: str, name: str, value: float, label: str = "") -> None:
        metric = self._metrics.get((name, label))
        if metric is not None:
            getattr(metric, how)(value)
