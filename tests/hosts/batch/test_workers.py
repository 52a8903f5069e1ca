"""How many workers a cluster has room for, and how many cores each gets."""

from types import SimpleNamespace
from typing import Any

import pytest

from pcsr.batch.cluster import workers_of
from pcsr.errors import BackendError


def cluster(*resources: dict[str, float], lost: int = 0) -> Any:  # noqa: ANN401
    nodes = [{"Resources": found, "Alive": n >= lost} for n, found in enumerate(resources)]
    return SimpleNamespace(nodes=lambda: nodes)


GPUS = ({"CPU": 128.0, "GPU": 8.0}, {"CPU": 24.0, "GPU": 4.0}, {"CPU": 16.0})


def test_each_gpu_has_a_worker_with_its_share_of_the_cores() -> None:
    assert workers_of(cluster(*GPUS), "cuda", None) == (12, 6)
    assert workers_of(cluster(*GPUS[:1]), "cuda", None) == (8, 8)
    assert workers_of(cluster({"GPU": 1.0}), "cuda", None) == (1, 1)
    assert workers_of(cluster(*GPUS, lost=1), "cuda", 3) == (4, 3)


def test_without_gpus_the_cores_are_shared() -> None:
    assert workers_of(cluster(*GPUS), "cpu", None) == (42, 4)
    assert workers_of(cluster({"CPU": 2.0}), "cpu", None) == (1, 2)
    assert workers_of(cluster(*GPUS), "cpu", 20) == (7, 20)


def test_a_cluster_without_what_is_asked_for_is_refused() -> None:
    with pytest.raises(BackendError, match="no GPU"):
        workers_of(cluster({"CPU": 2.0}), "cuda", None)
    with pytest.raises(BackendError, match="3 cores, found 2"):
        workers_of(cluster({"CPU": 2.0}), "cpu", 3)
