"""Compares a graph of one file with the bundle that it was made of, in ONNX Runtime."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr.export.verification.checks import DifferenceCheck
from pcsr.export.verification.fp32 import IMAGE_TOLERANCE, LR_SIZES, difference, inner
from pcsr.export.verification.references import synthetic_image
from pcsr.runtime.onnxruntime_session import provider_of, run_options, start_session
from pcsr.runtime.result import Result
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.upscaler import Upscaler

from .graph import Baked, build_graph

SIZES = (*LR_SIZES, (1, 1))
LARGEST_SIDE_PX = 1000  # of the result: any scale can be verified
HALF_TOLERANCE = 2e-3  # root of the mean square: the same types, rounded at other places
Floats = NDArray[np.float32]


def verify(upscaler: Upscaler, baked: Baked, data: bytes) -> Sequence[DifferenceCheck]:
    """Compares the graph's image, and its routing with another output for that."""
    bundle = upscaler.bundle
    has_routing = bundle.upsamplers > 1
    shown = build_graph(bundle, baked, shows_routing=True) if has_routing else None
    session = _session(data)
    routing = None if shown is None else _session(shown.SerializeToString())
    most_px = max(1, int(LARGEST_SIDE_PX / baked.scale))
    sizes = dict.fromkeys((min(height, most_px), min(width, most_px)) for height, width in SIZES)
    return [_check(upscaler, baked, session, routing, size) for size in sizes]


def _check(
    upscaler: Upscaler,
    baked: Baked,
    session: Any,  # noqa: ANN401
    routing: Any,  # noqa: ANN401
    size: tuple[int, int],
) -> DifferenceCheck:
    image = synthetic_image(size)
    expected = _expected(upscaler, baked, image)
    found = _run(session, image, "upscaled").transpose(1, 2, 0)
    same = None
    if routing is not None:
        same = _run(routing, image, "assignment")[0] == np.asarray(expected.assignment)
    is_half = baked.precision != "fp32"
    return DifferenceCheck(
        what="single file",
        precision=baked.precision,
        lr_size=size,
        scale=baked.scale,
        difference=_rms(found, expected.image)
        if is_half
        else difference(found, expected.image, None if same is None else inner(same)),
        tolerance=HALF_TOLERANCE if is_half else IMAGE_TOLERANCE,
        rerouted_px=0 if same is None or is_half else int((~same).sum()),
        pixels=0 if same is None else same.size,
    )


def _expected(upscaler: Upscaler, baked: Baked, image: Floats) -> Result:
    if upscaler.bundle.upsamplers < 2:
        return upscaler(image, baked.scale)
    request = RoutingRequest(k=baked.k, adaptive=baked.k is None, refine=baked.refine)
    return upscaler.run(image, baked.scale, request)


def _rms(found: Floats, expected: Floats) -> float:
    return float(np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()))


def _session(data: bytes) -> Any:  # noqa: ANN401
    return start_session(data, 0, provider_of("cpu"))


def _run(session: Any, image: Floats, output: str) -> Floats:  # noqa: ANN401
    batch = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
    values: Floats = session.run([output], {"image": batch}, run_options())[0][0]
    return values
