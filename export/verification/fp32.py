"""Checks the float32 graphs of a written bundle, each and all together, against PyTorch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcsr.export.graphs.onnx_graph import GraphSource
from pcsr.models import PCSR, PlainNetwork
from pcsr.runtime.upscaler import Upscaler

from .checks import DifferenceCheck, refuse_failed
from .references import as_batch, references, scales, synthetic_image

LR_SIZES = ((37, 53), (24, 40))
GRAPH_TOLERANCE = 1e-4  # float32 sums in another order, relative to the largest value
IMAGE_TOLERANCE = 2e-5
Floats = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]


def verify_bundle(
    path: Path, network: PCSR | PlainNetwork, sources: Sequence[GraphSource]
) -> list[DifferenceCheck]:
    """Makes all checks of the float32 graphs of a bundle that was just written.

    Raises:
        VerificationError: any of them is beyond its tolerance; the message names the worst.
    """
    upscaler = Upscaler(path)
    checks = [check for size in LR_SIZES for check in _graph_checks(upscaler, sources, size)]
    refuse_failed(checks)
    for scale in scales(network, upscaler.bundle.manifest.trained_scale):
        for size in LR_SIZES:
            checks += _pipeline_checks(upscaler, network, size, scale)
    refuse_failed(checks)
    return checks


def _graph_checks(
    upscaler: Upscaler, sources: Sequence[GraphSource], size: tuple[int, int]
) -> Iterator[DifferenceCheck]:
    for source in sources:
        session = ort.InferenceSession(
            upscaler.bundle.graph_bytes(source.role), providers=["CPUExecutionProvider"]
        )
        run = partial(session.run, source.outputs)
        yield check_graph(source, size, run, difference, GRAPH_TOLERANCE)


def check_graph(
    source: GraphSource,
    size: tuple[int, int],
    run: Callable[[Arrays], Sequence[Floats]],
    measure: Callable[[Floats, Floats], float],
    tolerance: float,
    precision: str = "fp32",
) -> DifferenceCheck:
    """Compares a graph with its module, for an image of `size`. run: inputs by name -> outputs, in
    the order of the source's. measure: (found, expected) -> how far they are apart.
    """
    inputs = example_inputs(source, size)
    with torch.no_grad():
        expected = source.module(*inputs.values())
    expected = (expected,) if torch.is_tensor(expected) else expected
    found = run({name: tensor.numpy() for name, tensor in inputs.items()})
    pairs = zip(found, expected, strict=True)
    return DifferenceCheck(
        what=f"{source.role} graph",
        precision=precision,
        lr_size=size,
        scale=None,
        difference=max(measure(a, b.numpy()) for a, b in pairs),
        tolerance=tolerance,
    )


def example_inputs(source: GraphSource, size: tuple[int, int]) -> Mapping[str, Tensor]:
    """Makes inputs of a graph for an image of `size`; an MLP's are random."""
    if "image" in source.example:
        return {"image": as_batch(synthetic_image(size)).contiguous()}
    random = torch.Generator().manual_seed(0)
    pixels = size[0] * size[1]
    width = source.example["features"].shape[1]
    rows = (3 * size[0], *source.example["index"].shape[1:])
    return {
        "features": torch.randn(pixels, width, generator=random),
        "index": torch.randint(0, pixels, rows, generator=random, dtype=torch.int32),
        "offset": torch.rand(*rows, 2, generator=random) * 2 - 1,
        "cell": torch.tensor([0.5, 0.8]),
    }


def _pipeline_checks(
    upscaler: Upscaler, network: PCSR | PlainNetwork, size: tuple[int, int], scale: float
) -> Iterator[DifferenceCheck]:
    for reference in references(network, synthetic_image(size), scale):
        found = upscaler(reference.image, scale, adaptive=reference.adaptive, refine=True)
        what, same = "pipeline", None
        if reference.assignment is not None:
            what += ", adaptive" if reference.adaptive else ", k = 0"
            same = np.asarray(found.assignment) == reference.assignment
        yield DifferenceCheck(
            what=what,
            lr_size=size,
            scale=scale,
            difference=difference(
                found.image, reference.expected, None if same is None else inner(same)
            ),
            tolerance=IMAGE_TOLERANCE,
            rerouted_px=0 if same is None else int((~same).sum()),
            pixels=0 if same is None else same.size,
        )


def inner(same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Marks the pixels whose whole 3x3 neighbourhood agrees."""
    padded = np.pad(same, 1, constant_values=True)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    return np.asarray(windows.all(axis=(2, 3)))


def difference(
    found: NDArray[Any], expected: NDArray[Any], where: NDArray[np.bool_] | None = None
) -> float:
    """Finds the largest difference, relative to the largest value if above 1; inf for NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(found - expected)
    if where is not None:
        gap = gap[where]
    worst = float(gap.max(initial=0.0)) / max(1.0, float(np.abs(expected).max()))
    return worst if np.isfinite(worst) else float("inf")
