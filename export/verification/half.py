"""Checks the half-precision graphs of a written bundle against PyTorch in float32: each graph's
arithmetic, and what the whole pipeline loses in quality.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.export.graphs.onnx_graph import GraphSource
from pcsr.metrics import psnr_of_error
from pcsr.models import PCSR, PlainNetwork
from pcsr.runtime.cpu.upscaler import HostUpscaler
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.machine import usable_cores
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.upscaler import Result, Upscaler
from pcsr.vectors import Vector

from .checks import AnyCheck, DifferenceCheck, QualityCheck, refuse_failed
from .emulated_half import RoundingRunner
from .fp32 import check_graph
from .references import references, resized, scales, synthetic_image

LR_SIZE = (48, 61)
ORIGINAL_SIZE = (72, 91)  # finer than the input: there is something to restore
GRAPH_TOLERANCE = {"fp16": 3e-2, "bf16": 0.2}  # the published CARN has 9e-3 and 8e-2
ALLOWED_DB = {"fp16": 0.01, "bf16": 0.1}
LEAST_DB = {"fp16": 30.0, "bf16": 20.0}  # to PyTorch, all rerouted pixels included

EQUAL_DB = 200.0
Floats = NDArray[np.float32]
ImageAndLabels = tuple[Floats, NDArray[np.uint8] | None]
Upscale = Callable[[Floats, float, bool], ImageAndLabels]
"""(image [h, w, 3], scale, adaptive) -> image [H, W, 3], assignment [H, W] or None."""


def verify_typed(
    path: Path, network: PCSR | PlainNetwork, sources: Sequence[GraphSource], precision: str
) -> list[AnyCheck]:
    """Makes all checks of the graphs of one precision of a bundle that was just written.

    Raises:
        VerificationError: a value overflows, or a check is beyond its tolerance.
    """
    bundle = Bundle.load(path)
    graphs = {role: bundle.graph_bytes(role, precision) for role in bundle.graphs(precision)}
    runner = RoundingRunner(graphs, precision)
    checks: list[AnyCheck] = [_graph_check(runner, source, precision) for source in sources]
    refuse_failed(checks)
    cases = quality_cases(network, bundle.manifest.trained_scale)
    for what, run in _ways(bundle, runner, precision).items():
        checks += quality_checks(what, run, cases, precision)
    refuse_failed(checks)
    return checks


def _graph_check(runner: RoundingRunner, source: GraphSource, precision: str) -> DifferenceCheck:
    def run(inputs: Mapping[str, NDArray[Any]]) -> list[Floats]:
        return [*runner.run(source.role, inputs).values()]

    return check_graph(source, LR_SIZE, run, _noise, GRAPH_TOLERANCE[precision], precision)


def _ways(bundle: Bundle, runner: RoundingRunner, precision: str) -> dict[str, Upscale]:
    rounded = HostUpscaler(bundle, "onnxruntime", precision, usable_cores(), None, runner)
    ways = {"every result rounded": _in_mode(rounded)}
    if precision == "fp16":
        in_runtime = Upscaler(bundle.path, backend="onnxruntime", precision=precision)
        ways["in ONNX Runtime"] = _in_mode(in_runtime.run)
    return ways


def _in_mode(run: Callable[[Floats, float, RoutingRequest], Result]) -> Upscale:
    def upscale(image: Floats, scale: float, adaptive: bool) -> ImageAndLabels:
        found = run(image, scale, RoutingRequest(adaptive=adaptive))
        return found.image, found.assignment

    return upscale


@dataclass(frozen=True)
class QualityCase:
    """Holds what the float32 PyTorch network makes of an image whose original is known."""

    original: Floats
    """[H, W, 3]."""
    reference: Vector
    mode: str
    """Begins the name of a check; empty where nothing is routed."""


def quality_cases(network: PCSR | PlainNetwork, trained_scale: float) -> list[QualityCase]:
    """Lists the cases that half precision is judged by, each upscaled by PyTorch."""
    cases = []
    for scale in scales(network, trained_scale):
        original = resized(synthetic_image(ORIGINAL_SIZE), hr_size(LR_SIZE, scale))
        found = references(network, resized(original, LR_SIZE), scale)
        for reference in found:
            mode = ("adaptive, " if reference.adaptive else "k = 0, ") if len(found) > 1 else ""
            cases.append(QualityCase(original, reference, mode))
    return cases


def quality_checks(
    what: str, run: Upscale, cases: Sequence[QualityCase], precision: str
) -> Iterator[QualityCheck]:
    """Compares the results of `run` with PyTorch's, case by case."""
    for case in cases:
        by_torch = case.reference
        found, assignment = run(by_torch.image, by_torch.scale, by_torch.adaptive)
        routed = by_torch.assignment
        loss = psnr_db(by_torch.expected, case.original) - psnr_db(found, case.original)
        yield QualityCheck(
            what=f"pipeline, {case.mode}{what}",
            precision=precision,
            lr_size=LR_SIZE,
            scale=by_torch.scale,
            psnr_loss_db=loss,
            allowed_db=ALLOWED_DB[precision],
            psnr_db=psnr_db(found, by_torch.expected),
            least_db=LEAST_DB[precision],
            rerouted_px=0 if routed is None else int(np.count_nonzero(assignment != routed)),
            pixels=0 if routed is None else routed.size,
        )


def _noise(found: Floats, expected: Floats) -> float:
    """Takes the root of the mean squared difference, relative to that of the expected values."""
    noise, signal = (float(np.linalg.norm(x)) for x in (found - expected, expected))
    return noise / max(1e-6, signal)


def psnr_db(image: Floats, reference: Floats) -> float:
    """Measures the PSNR in dB of images that are clipped to [0, 1]; of equal ones it is 200."""
    gap = image.clip(0, 1).astype(np.float64) - reference.clip(0, 1)
    return min(psnr_of_error(float(np.mean(gap**2)), 1.0), EQUAL_DB)
