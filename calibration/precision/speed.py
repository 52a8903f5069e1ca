"""How much faster a quantised graph is here, in one interleaved run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from pcsr.metrics import Pixels
from pcsr.runtime.onnxruntime_session import run_options

from .substitute import SubstitutePipeline

ROUNDS = 7


@dataclass(frozen=True)
class Speed:
    """Medians of interleaved runs on one image, in ms; `lr_size` is its (height, width). Of the
    image graph alone, and of whole calls in the calibration's mode.
    """

    lr_size: tuple[int, int]
    threads: int
    rounds: int
    graph_fp32_ms: float
    graph_ms: float
    call_fp32_ms: float
    call_ms: float

    @property
    def graph_speedup(self) -> float:
        return self.graph_fp32_ms / self.graph_ms

    @property
    def call_speedup(self) -> float:
        return self.call_fp32_ms / self.call_ms


def measure_speed(
    trial: SubstitutePipeline, lr: Pixels, graphs: Mapping[str, Any], output: str, threads: int
) -> Speed:
    """graphs: sessions `fp32` and `int8`. output: the tensor that the runtime asks for.

    The image graph is timed on the largest tile that the runtime makes of the image.
    """
    tile = max(trial.inputs(lr), key=lambda image: image.size)
    runs: dict[str, Callable[[], Any]] = {
        "graph fp32": lambda: graphs["fp32"].run([output], {"image": tile}, run_options()),
        "graph int8": lambda: graphs["int8"].run([output], {"image": tile}, run_options()),
        "call fp32": lambda: trial.run(lr),
        "call int8": lambda: trial.run(lr, graphs["int8"]),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(ROUNDS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number:  # the first warms up
                taken[name].append(1000 * (time.perf_counter() - start))
    size = (lr.shape[0], lr.shape[1])
    return Speed(size, threads, ROUNDS, *(median(times) for times in taken.values()))
