"""Defines how much faster a quantised graph is here, in one interleaved run."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import onnx

from pcsr.bundle import Bundle
from pcsr.errors import BackendError
from pcsr.metrics import Pixels
from pcsr.runtime.cpu.candidates.choice import NATIVE, ORT
from pcsr.runtime.cpu.candidates.trial import Open, Probe, opened, tried
from pcsr.runtime.cpu.pipeline import Runner
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
    engine: str
    """What ran the quantised graph; the float32 one runs in ONNX Runtime."""
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


@dataclass(frozen=True)
class Serving:
    """What runs a graph, and its name."""

    name: str
    runner: Runner


def native_runner(bundle: Bundle, backend: str, graph: onnx.ModelProto, threads: int) -> Runner:
    """Opens pcsr's own convolutions for a quantised graph.

    backend: of the upscaler.

    Raises:
        BackendError: they do not run this graph here, or are not there.
    """
    if backend != "native":
        raise BackendError(f"the {backend} backend has no convolutions of its own")
    from pcsr.runtime.cpu.convolutions import read_convolutions

    return read_convolutions(graph, bundle.image_role, bundle.image_output, "int8", threads)


def serving_runner(
    bundle: Bundle, backend: str, graph: onnx.ModelProto, session: Runner, threads: int
) -> Serving:
    """Chooses what runs a quantised graph as an `Upscaler` does that opens it in int8.

    session: runs it in ONNX Runtime.
    """
    candidates: dict[str, Open] = {
        ORT: lambda: session,
        NATIVE: lambda: native_runner(bundle, backend, graph, threads),
    }
    runners, _ = opened(candidates)
    if [*runners] == [ORT]:
        return Serving(ORT, session)
    winner = tried(runners, Probe.of(bundle, session, "int8"), NATIVE).winner
    return Serving(winner, runners[winner])


def measure_speed(
    trial: SubstitutePipeline, lr: Pixels, fp32: Runner, int8: Serving, bundle: Bundle
) -> Speed:
    """Times both. The image graph is timed on the largest tile that the runtime makes of `lr`."""
    tile = max(trial.inputs(lr), key=lambda image: image.size)
    role, outputs = bundle.image_role, [bundle.image_output]
    runs: dict[str, Callable[[], Any]] = {
        "graph fp32": lambda: fp32.run_image(role, tile, outputs),
        "graph int8": lambda: int8.runner.run_image(role, tile, outputs),
        "call fp32": lambda: trial.run(lr),
        "call int8": lambda: trial.run(lr, int8.runner),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for name, number in turns([*runs], Pace(ROUNDS, warm_ups=1)):
        took_ms, _ = timed(runs[name])
        if number >= 0:
            taken[name].append(took_ms)
    size, times = (lr.shape[0], lr.shape[1]), [median(each) for each in taken.values()]
    return Speed(size, trial.threads, ROUNDS, int8.name, *times)
