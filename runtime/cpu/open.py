"""Opens what computes on the CPU: a runner for the graphs, and a pipeline around it."""

from collections.abc import Sequence

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, BundleError
from pcsr.runtime.backends import CPU_SETS

from .candidates.choice import choose_runner
from .checked_runner import CheckedRunner
from .pipeline import Pipeline, Runner
from .workers import Workers

CHOSEN = ("bf16", "int8")
"""Precisions that several runners compute."""


def open_fastest(
    name: str, bundle: Bundle, precision: str, threads: int
) -> tuple[Runner, Sequence[str]]:
    """Opens the runner for a backend: where several can run the image graph in this precision, the
    one that is fastest here. Also gives lines on that choice.

    Raises:
        BackendError, BundleError: as `open_runner` and `choose_runner`.
    """
    if name != "native" or precision not in CHOSEN:
        return open_runner(name, bundle, precision, threads), ()
    graphs = _graphs_of(bundle, precision) if precision in CPU_SETS else "fp32"
    chosen = choose_runner(bundle, precision, threads)
    return CheckedRunner(chosen.runner, bundle, graphs), (chosen.line,)


def open_runner(name: str, bundle: Bundle, precision: str, threads: int) -> Runner:
    """Loads those graphs of the bundle that backend `native` or `onnxruntime` runs on the CPU, in
    ONNX Runtime.

    Raises:
        BackendError: ONNX Runtime is not installed, or this precision does not run on the CPU.
        BundleError: the bundle has no graphs of this precision for the CPU.
    """
    precision = _graphs_of(bundle, precision)
    if name == "native" and precision not in ("fp32", *CPU_SETS.values()):
        raise BackendError(
            f"the native backend computes in fp32, bf16 and int8, not in {precision}; use "
            "onnxruntime or torch"
        )
    if precision == "bf16":
        raise BackendError(
            "ONNX Runtime has no bf16 on the CPU; use the native backend, which has, or fp32"
        )
    roles = [*bundle.graphs(precision)]
    from .onnxruntime import OnnxRuntimeRunner

    roles = [bundle.image_role] if name == "native" else roles
    runner = OnnxRuntimeRunner(bundle, precision, threads, roles)
    return CheckedRunner(runner, bundle, precision)


def _graphs_of(bundle: Bundle, precision: str) -> str:
    """Names the set of graphs that a precision runs on the CPU."""
    found = CPU_SETS.get(precision, precision)
    if found not in (precision, *bundle.manifest.graphs):
        raise BundleError(
            f"{bundle.path} has no {precision} graphs for the CPU; make them with "
            f"pcsr-calibrate precision {bundle.path} IMAGES"
        )
    return found


def open_pipeline(
    bundle: Bundle,
    runner: Runner,
    workers: Workers,
    native: bool,
    tile_px: int | None,
    bf16: bool = False,
) -> Pipeline:
    """Makes the pipeline for a bundle's kind.

    Args:
        native: whether all behind the backbone runs in compiled passes, else in row graphs.
        tile_px: side of the tiles in input pixels; None chooses it by memory.
        bf16: whether compiled passes compute in bfloat16 where they can.
    """
    if bundle.kind == "plain":
        from .graph_pipeline import PlainPipeline

        return PlainPipeline(bundle, runner, workers, tile_px)
    if native:
        from .native_pipeline import NativePipeline

        return NativePipeline(bundle, runner, workers, tile_px, bf16)
    from .graph_pipeline import GraphPipeline

    return GraphPipeline(bundle, runner, workers, tile_px)
