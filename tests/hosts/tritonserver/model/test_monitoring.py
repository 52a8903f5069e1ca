"""Metrics are changed by one thread at a time: two at once kill the server."""

from concurrent.futures import ThreadPoolExecutor

from pcsr.tritonserver.model.monitoring import Monitor
from tests.hosts.tritonserver.stand_in import utils

LABELS = {"model": "m", "version": "1", "device": "cpu"}


def test_threads_change_a_metric_one_after_the_other() -> None:
    module = utils()
    monitor = Monitor(module, LABELS)

    def count(_: int) -> None:
        for _ in range(500):
            monitor.ended("ok")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    assert module.MetricFamily.values["pcsr_requests_total", "ok"] == 2000


def test_nothing_is_counted_after_the_end() -> None:
    module = utils()
    monitor = Monitor(module, LABELS)
    monitor.close()
    monitor.ended("ok")
    monitor.pending(1, 100)
    assert set(module.MetricFamily.values.values()) == {0}
