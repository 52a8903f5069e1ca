"""Checks a written bundle against PyTorch: every graph, and the whole pipeline, in ONNX Runtime on
the CPU.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcsr.errors import VerificationError
from pcsr.models import PCSR, PlainNetwork
from pcsr.runtime.upscaler import Upscaler

from .onnx_graph import GraphSource

LR_SIZES = ((37, 53), (24, 40))
OTHER_SCALE = 2.5
GRAPH_TOLERANCE = 1e-4  # float32 sums in another order, relative to the largest value
IMAGE_TOLERANCE = 2e-5
ROUTING_TOLERANCE = (
    1e-4  # share of pixels; a logit within rounding of the threshold may fall to either side
)
ROUTING_SLACK_PX = 4


@dataclass(frozen=True)
class Check:
    """One comparison with PyTorch. Sizes are (height, width) of the input.

    max_abs_diff: where both routed the pixel and its 3x3 neighbourhood alike; relative to the
        largest value if above 1.
    rerouted_px: pixels that went to another upsampler, of `pixels`. Both 0 where there is no
        routing.
    """

    what: str
    lr_size: tuple[int, int]
    scale: float | None
    max_abs_diff: float
    tolerance: float
    rerouted_px: int = 0
    pixels: int = 0

    @property
    def passed(self) -> bool:
        """Within tolerance, and finite."""
        allowed = max(ROUTING_SLACK_PX, ROUTING_TOLERANCE * self.pixels)
        return self.max_abs_diff <= self.tolerance and self.rerouted_px <= allowed

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


def verify_bundle(
    path: Path, network: PCSR | PlainNetwork, sources: Sequence[GraphSource]
) -> list[Check]:
    """All checks of a bundle that was just written.

    Raises:
        VerificationError: any of them is beyond its tolerance; the message names the worst.
    """
    upscaler = Upscaler(path)
    checks = [check for size in LR_SIZES for check in _graph_checks(upscaler, sources, size)]
    _refuse_failed(checks)
    for scale in _scales(network, upscaler.bundle.manifest.trained_scale):
        for size in LR_SIZES:
            checks += _pipeline_checks(upscaler, network, size, scale)
    _refuse_failed(checks)
    return checks


def _refuse_failed(checks: Sequence[Check]) -> None:
    failed = [check for check in checks if not check.passed]
    if failed:
        worst = failed[0]
        raise VerificationError(
            f"{len(failed)} of {len(checks)} comparisons with PyTorch failed, first {worst.what} "
            f"at {worst.lr_size[0]}x{worst.lr_size[1]}: difference {worst.max_abs_diff:.1e} "
            f"(allowed {worst.tolerance:.0e}), {worst.rerouted_px} pixels routed differently; "
            "nothing was written"
        )


def sample_picture(size: tuple[int, int]) -> NDArray[np.float32]:
    """A picture [h, w, 3] in [0, 1] with flats, gradients, edges and texture. Always the same."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    noise = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    stripes = ((x // 3 + y // 5) % 2)[..., None] * (x[..., None] > size[1] / 2)
    ramp = np.stack([x / size[1], y / size[0], (x + y) / sum(size)], axis=-1)
    grain = 0.1 * noise * (x[..., None] < size[1] / 3)
    picture = np.where(y[..., None] < size[0] / 3, 0.3, 0.6 * ramp + 0.3 * stripes) + grain
    clipped: NDArray[np.float32] = picture.clip(0, 1).astype(np.float32)
    return clipped


def _graph_checks(
    upscaler: Upscaler, sources: Sequence[GraphSource], size: tuple[int, int]
) -> Iterator[Check]:
    for source in sources:
        inputs = _inputs(source, size)
        with torch.no_grad():
            expected = source.module(*inputs.values())
        expected = (expected,) if torch.is_tensor(expected) else expected
        session = ort.InferenceSession(
            upscaler.bundle.graph_bytes(source.role), providers=["CPUExecutionProvider"]
        )
        found = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        worst = max(_difference(a, b.numpy()) for a, b in zip(found, expected, strict=True))
        yield Check(f"{source.role} graph", size, None, worst, GRAPH_TOLERANCE)


def _inputs(source: GraphSource, size: tuple[int, int]) -> Mapping[str, Tensor]:
    if "image" in source.example:
        return {"image": torch.from_numpy(sample_picture(size)).permute(2, 0, 1)[None].contiguous()}
    random = torch.Generator().manual_seed(0)
    pixels, rows = size[0] * size[1], 3 * size[0]
    width = source.example["features"].shape[1]
    return {
        "features": torch.randn(pixels, width, generator=random),
        "index": torch.randint(0, pixels, (rows,), generator=random, dtype=torch.int32),
        "offset": torch.rand(rows, 2, generator=random) * 2 - 1,
        "cell": torch.tensor([0.5, 0.8]),
    }


def _scales(network: PCSR | PlainNetwork, trained: float) -> tuple[float, ...]:
    if isinstance(network, PlainNetwork):
        return (trained,)
    return (trained, OTHER_SCALE if trained != OTHER_SCALE else 2.0)


def _pipeline_checks(
    upscaler: Upscaler, network: PCSR | PlainNetwork, size: tuple[int, int], scale: float
) -> Iterator[Check]:
    image = sample_picture(size)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    if isinstance(network, PlainNetwork):
        with torch.no_grad():
            expected = _as_image(network(batch))
        worst = _difference(upscaler(image).image, expected)
        yield Check("pipeline", size, scale, worst, IMAGE_TOLERANCE)
        return
    for adaptive in (False, True) if upscaler.bundle.upsamplers > 1 else (False,):
        reference = network(batch, scale, adaptive=adaptive)
        found = upscaler(image, scale, adaptive=adaptive)
        same = found.assignment == reference.assignment[0].numpy()
        yield Check(
            what=f"pipeline, {'adaptive' if adaptive else 'k = 0'}",
            lr_size=size,
            scale=scale,
            max_abs_diff=_difference(found.image, _as_image(reference.image), _inner(same)),
            tolerance=IMAGE_TOLERANCE,
            rerouted_px=int((~same).sum()),
            pixels=same.size,
        )


def _as_image(batch: Tensor) -> NDArray[np.float32]:
    image: NDArray[np.float32] = batch[0].permute(1, 2, 0).numpy()
    return image


def _inner(same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels whose whole 3x3 neighbourhood agrees."""
    padded = np.pad(same, 1, constant_values=True)
    height, width = same.shape
    shifts = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    inner: NDArray[np.bool_] = np.logical_and.reduce(shifts)
    return inner


def _difference(
    found: NDArray[Any], expected: NDArray[Any], where: NDArray[np.bool_] | None = None
) -> float:
    """Largest difference, relative to the largest expected value if that is above 1; infinite for
    NaN.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(found - expected)
    if where is not None:
        gap = gap[where]
    worst = float(gap.max(initial=0.0)) / max(1.0, float(np.abs(expected).max()))
    return worst if np.isfinite(worst) else float("inf")
