"""Defines how much faster a quantised graph is here, in one interleaved run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from pcsr.metrics import Pixels
from pcsr.runtime.onnxruntime_session import run_options
from pcsr.runtime.profiler.measuring.calls import timed
from pcsr.runtime.profiler.measuring.rounds import Pace, turns

from .substitute import SubstitutePipeline

ROUNDS = 7


@dataclass(frozen=True)
class Speed:
    """Holds medians of interleaved runs on one image, in ms."""

    lr_size: tuple[int, int]
    """(height, width) of the image."""
    threads: int
    rounds: int
    graph_fp32_ms: float
    """Of the image graph alone in float32."""
    graph_ms: float
    """Of the quantised image graph alone."""
    call_fp32_ms: float
    """Of whole calls in the calibration's mode with the float32 graph."""
    call_ms: float
    """Of whole calls with the quantised graph."""

    @property
    def graph_speedup(self) -> float:
        return self.graph_fp32_ms / self.graph_ms

    @property
    def call_speedup(self) -> float:
        return self.call_fp32_ms / self.call_ms


def measure_speed(
    trial: SubstitutePipeline, lr: Pixels, graphs: Mapping[str, Any], output: str, threads: int
) -> Speed:
    """Times both. graphs: sessions `fp32` and `int8`. output: the tensor that the runtime asks for.

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
    for name, number in turns([*runs], Pace(ROUNDS, warm_ups=1)):
        took_ms, _ = timed(runs[name])
        if number >= 0:
            taken[name].append(took_ms)
    size = (lr.shape[0], lr.shape[1])
    return Speed(size, threads, ROUNDS, *(median(times) for times in taken.values()))
