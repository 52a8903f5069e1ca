"""Opens what computes on the CPU: a backend for the graphs, and a pipeline around it."""

from pcsr.bundle import Bundle
from pcsr.errors import BackendError, BundleError
from pcsr.runtime.backends import CPU_SETS

from .backend import Backend
from .pipeline import Pipeline
from .workers import Workers


def make_backend(name: str, bundle: Bundle, device: str, precision: str, threads: int) -> Backend:
    """`native` or `onnxruntime` with the bundle's graphs loaded, for the CPU.

    Raises:
        BackendError: it is unknown, not installed, or cannot run on `device`.
    """
    precision = _cpu_set(bundle, precision)
    if name == "native" and precision not in ("fp32", *CPU_SETS.values()):
        raise BackendError(
            f"the native backend computes in fp32, not in {precision}; use onnxruntime or torch"
        )
    graphs = [*bundle.graphs(precision)]
    if precision == "bf16":
        raise BackendError("ONNX Runtime has no bf16 on the CPU; use the torch backend, or fp32")
    from .onnxruntime import OnnxRuntimeBackend

    if name == "native":
        graphs = [bundle.image_role]
    return OnnxRuntimeBackend(bundle, device, precision, threads, graphs)


def _cpu_set(bundle: Bundle, precision: str) -> str:
    """Which set of graphs ONNX Runtime runs on the CPU for a precision."""
    name = CPU_SETS.get(precision, precision)
    if name != precision and name not in bundle.manifest.graphs:
        raise BundleError(
            f"{bundle.path} has no {precision} graphs for the CPU; make them with "
            f"pcsr-calibrate precision {bundle.path} IMAGES"
        )
    return name


def make_pipeline(
    bundle: Bundle, backend: Backend, workers: Workers, native: bool, tile_px: int | None
) -> Pipeline:
    """The pipeline for a bundle's kind. native: all behind the backbone in compiled passes."""
    if bundle.kind == "plain":
        from .graph_pipeline import PlainPipeline

        return PlainPipeline(bundle, backend)
    if native:
        from .native_pipeline import NativePipeline

        return NativePipeline(bundle, backend, workers, tile_px)
    from .graph_pipeline import GraphPipeline

    return GraphPipeline(bundle, backend, workers, tile_px)
