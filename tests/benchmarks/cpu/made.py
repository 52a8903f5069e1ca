"""Hand-made callers and records."""

from typing import Any

import numpy as np

from benchmarks.contenders import Contender, Family, Implementation
from benchmarks.image import Image
from benchmarks.records import Record
from pcsr.runtime.profiler.measuring.calls import Answer, Caller, CallOptions, Details

IMAGE: Image = np.zeros((2, 3, 3), dtype=np.uint8)


def contender(name: str, family: Family = "bicubic", rival: str = "") -> Contender:
    return Contender(name, Implementation(family), name, published=rival)


def caller(error: Exception | None = None, log: list[str] | None = None) -> Caller:
    """One that answers with its image, or raises."""

    def call(image: Image, options: CallOptions) -> Answer:
        if log is not None:
            log.append("call")
        if error is not None:
            raise error
        return Answer(image, lambda: Details((1, 3), 0.5, {"network": 2.5}))

    return call


def record(**values: Any) -> Record:  # noqa: ANN401
    """A record of a contender of ours that went well."""
    return {
        "key": "k",
        "group_size": 1,
        "model": "fsrcnn",
        "size": "1080p",
        "lr_size": [270, 480],
        "hr_size": [1080, 1920],
        "weights": ["a.pth", "b.pth"],
        "is_trained": True,
        "rounds": 5,
        "sgemm_gflops": 200.0,
        "foreign_cores": 0.02,
        "environment": {"threads": 2, "date": "2024-01-01"},
        "contender": "pcsr-k0",
        "label": "pcsr, k = 0",
        "ours": True,
        "rival": None,
        "error": None,
        "loaded_mib": 60.0,
        "peak_mib": 512.4,
        "median_ms": 123.44,
        "p10_ms": 120.0,
        "p90_ms": 130.0,
        "time_over_plain": 0.25,
        "time_over_published": 0.125,
        "times_ms": [123.44],
        "is_slow": False,
        "is_released": False,
        "stage_ms": {"backbone": 100.0, "routing": 23.4},
        "heavy_share": 0.375,
        "gmacs": 12.3,
        "paper_gflops": 45.6,
        "gflops_per_s": 199.0,
        "share_of_sgemm": 0.5,
        "fidelity": None,
    } | values


def failed(**values: Any) -> Record:  # noqa: ANN401
    """A record of one that failed before it was timed."""
    nothing = dict.fromkeys(
        (
            "loaded_mib",
            "peak_mib",
            "median_ms",
            "p10_ms",
            "p90_ms",
            "time_over_plain",
            "time_over_published",
            "heavy_share",
            "gmacs",
            "paper_gflops",
            "gflops_per_s",
            "share_of_sgemm",
        )
    )
    return record(error="killed", times_ms=[], stage_ms={}, **nothing) | values
