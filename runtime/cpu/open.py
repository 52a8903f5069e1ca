"""Opens what computes on the CPU: a runner for the graphs, and a pipeline around it."""

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, BundleError
from pcsr.runtime.backends import CPU_SETS

from .checked_runner import CheckedRunner
from .pipeline import Pipeline, Runner
from .workers import Workers


def open_runner(name: str, bundle: Bundle, precision: str, threads: int) -> Runner:
    """Loads those graphs of the bundle that backend `native` or `onnxruntime` runs on the CPU.

    Raises:
        BackendError: ONNX Runtime is not installed, or this precision does not run on the CPU.
        BundleError: the bundle has no graphs of this precision for the CPU.
    """
    asked, precision = precision, CPU_SETS.get(precision, precision)
    if precision not in (asked, *bundle.manifest.graphs):
        raise BundleError(
            f"{bundle.path} has no {asked} graphs for the CPU; make them with "
            f"pcsr-calibrate precision {bundle.path} IMAGES"
        )
    if name == "native" and precision not in ("fp32", *CPU_SETS.values()):
        raise BackendError(
            f"the native backend computes in fp32, not in {precision}; use onnxruntime or torch"
        )
    roles = [*bundle.graphs(precision)]
    if precision == "bf16":
        raise BackendError("ONNX Runtime has no bf16 on the CPU; use the torch backend, or fp32")
    from .onnxruntime import OnnxRuntimeRunner

    roles = [bundle.image_role] if name == "native" else roles
    runner = OnnxRuntimeRunner(bundle, precision, threads, roles)
    return CheckedRunner(runner, bundle, precision)


def open_pipeline(
    bundle: Bundle, runner: Runner, workers: Workers, native: bool, tile_px: int | None
) -> Pipeline:
    """Makes the pipeline for a bundle's kind.

    Args:
        native: whether all behind the backbone runs in compiled passes, else in row graphs.
        tile_px: side of the tiles in input pixels; None chooses it by memory.
    """
    if bundle.kind == "plain":
        from .graph_pipeline import PlainPipeline

        return PlainPipeline(bundle, runner, workers, tile_px)
    if native:
        from .native_pipeline import NativePipeline

        return NativePipeline(bundle, runner, workers, tile_px)
    from .graph_pipeline import GraphPipeline

    return GraphPipeline(bundle, runner, workers, tile_px)
