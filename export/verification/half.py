"""Checks the half-precision graphs of a written bundle against PyTorch in float32: each graph's
arithmetic, and what the whole pipeline loses in quality.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.export.graphs.onnx_graph import GraphSource
from pcsr.models import PCSR, PlainNetwork
from pcsr.runtime.cpu.open import make_pipeline
from pcsr.runtime.cpu.output import Arrays
from pcsr.runtime.cpu.pipeline import Task
from pcsr.runtime.cpu.workers import Workers
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.machine import usable_cores
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.timing import Stopwatch
from pcsr.runtime.upscaler import Upscaler

from .checks import AnyCheck, Check, QualityCheck, refuse_failed
from .emulated_half import RoundedBackend
from .fp32 import as_batch, as_image, example_inputs, expected_outputs, scales
from .pictures import resized, sample_picture

LR_SIZE = (48, 61)
ORIGINAL_SIZE = (72, 91)  # finer than the input: there is something to restore
GRAPH_TOLERANCE = {"fp16": 3e-2, "bf16": 0.2}  # the published CARN has 9e-3 and 8e-2
ALLOWED_DB = {"fp16": 0.01, "bf16": 0.1}
LEAST_DB = {"fp16": 30.0, "bf16": 20.0}  # to PyTorch, all rerouted pixels included

NO_ROUTING = np.zeros(0, dtype=np.uint8)
Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]
Result = tuple[Floats, Labels]
Run = Callable[[Floats, float, bool], Result]
"""(image [h, w, 3], scale, adaptive) -> image [H, W, 3], assignment [H, W] or empty."""


def verify_typed(
    path: Path, network: PCSR | PlainNetwork, sources: Sequence[GraphSource], precision: str
) -> list[AnyCheck]:
    """All checks of the graphs of one precision of a bundle that was just written.

    Raises:
        VerificationError: a value overflows, or a check is beyond its tolerance.
    """
    bundle = Bundle.load(path)
    graphs = {role: bundle.graph_bytes(role, precision) for role in bundle.graphs(precision)}
    backend = RoundedBackend(graphs, precision)
    checks: list[AnyCheck] = [_graph_check(backend, source, precision) for source in sources]
    refuse_failed(checks)
    cases = quality_cases(network, bundle.manifest.trained_scale)
    for what, run in _ways(bundle, backend, precision).items():
        checks += quality_checks(what, run, cases, precision)
    refuse_failed(checks)
    return checks


def _graph_check(backend: RoundedBackend, source: GraphSource, precision: str) -> Check:
    inputs = example_inputs(source, LR_SIZE)
    expected = expected_outputs(source, inputs)
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    found = backend.run(source.role, arrays)
    return Check(
        what=f"{source.role} graph",
        precision=precision,
        lr_size=LR_SIZE,
        scale=None,
        difference=max(_noise(found[name], expected[name]) for name in expected),
        tolerance=GRAPH_TOLERANCE[precision],
    )


def _ways(bundle: Bundle, backend: RoundedBackend, precision: str) -> dict[str, Run]:
    pipeline = make_pipeline(bundle, backend, Workers(usable_cores()), False, None)

    def rounded(image: Floats, scale: float, adaptive: bool) -> Result:
        def read(first: int, stop: int) -> Floats:
            return np.ascontiguousarray(image[first:stop].transpose(2, 0, 1)[None])

        size = (image.shape[0], image.shape[1])
        output = Arrays(hr_size(size, scale), np.dtype(np.float32))
        pipeline.run(
            Task(size, read, scale, RoutingRequest(adaptive=adaptive)), output, Stopwatch()
        )
        is_routed = bundle.upsamplers > 0
        return output.whole.pixels, output.whole.assignment if is_routed else NO_ROUTING

    ways: dict[str, Run] = {"every result rounded": rounded}
    if precision == "fp16":
        upscaler = Upscaler(bundle.path, backend="onnxruntime", precision=precision)

        def in_runtime(image: Floats, scale: float, adaptive: bool) -> Result:
            found = upscaler(image, scale, adaptive=adaptive)
            return found.image, NO_ROUTING if found.assignment is None else found.assignment

        ways["in ONNX Runtime"] = in_runtime
    return ways


@dataclass(frozen=True)
class QualityCase:
    """An image [h, w, 3], its original [H, W, 3], and what the float32 PyTorch network makes of it:
    expected [H, W, 3], routed [H, W] or empty. mode: for the name of a check.
    """

    image: Floats
    original: Floats
    scale: float
    adaptive: bool
    mode: str
    expected: Floats
    routed: Labels


def quality_cases(network: PCSR | PlainNetwork, trained_scale: float) -> list[QualityCase]:
    """The cases that half precision is judged by, each upscaled by PyTorch."""
    cases = []
    is_routed = isinstance(network, PCSR) and len(network.names) > 1
    for scale in scales(network, trained_scale):
        original = resized(sample_picture(ORIGINAL_SIZE), hr_size(LR_SIZE, scale))
        image = resized(original, LR_SIZE)
        for adaptive in (False, True) if is_routed else (False,):
            mode = ("adaptive, " if adaptive else "k = 0, ") if is_routed else ""
            result = _in_pytorch(network, image, scale, adaptive)
            cases.append(QualityCase(image, original, scale, adaptive, mode, *result))
    return cases


def quality_checks(
    what: str, run: Run, cases: Sequence[QualityCase], precision: str
) -> Iterator[QualityCheck]:
    """How the results of `run` compare with PyTorch's, case by case."""
    for case in cases:
        found, assignment = run(case.image, case.scale, case.adaptive)
        loss = psnr_db(case.expected, case.original) - psnr_db(found, case.original)
        yield QualityCheck(
            what=f"pipeline, {case.mode}{what}",
            precision=precision,
            lr_size=LR_SIZE,
            scale=case.scale,
            psnr_loss_db=loss,
            allowed_db=ALLOWED_DB[precision],
            psnr_db=psnr_db(found, case.expected),
            least_db=LEAST_DB[precision],
            rerouted_px=int(np.count_nonzero(assignment != case.routed)),
            pixels=case.routed.size,
        )


def _in_pytorch(
    network: PCSR | PlainNetwork, image: Floats, scale: float, adaptive: bool
) -> Result:
    with torch.no_grad():
        if isinstance(network, PlainNetwork):
            return as_image(network(as_batch(image))), NO_ROUTING
        found = network(as_batch(image), scale, adaptive=adaptive)
    return as_image(found.image), found.assignment[0].numpy().astype(np.uint8)


def _noise(found: Floats, expected: Floats) -> float:
    """Root of the mean squared difference, relative to that of the expected values."""
    noise, signal = (float(np.linalg.norm(x)) for x in (found - expected, expected))
    return noise / max(1e-6, signal)


def psnr_db(image: Floats, reference: Floats) -> float:
    """Peak 1, values clipped to [0, 1]; 200 for equal images."""
    gap = image.clip(0, 1).astype(np.float64) - reference.clip(0, 1)
    return -10 * math.log10(float(np.mean(gap**2)) + 1e-20)
