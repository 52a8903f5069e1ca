"""Upscales a batch whose images are routed as if they were one."""

from dataclasses import fields, replace
from time import perf_counter
from typing import Any

from numpy.typing import NDArray

from pcsr.errors import ImageError, UsageError
from pcsr.runtime.cpu.upscaler import HostUpscaler, size_of
from pcsr.runtime.inputs.arguments import checked, instance
from pcsr.runtime.inputs.arrays import as_array
from pcsr.runtime.layout import Layout
from pcsr.runtime.open import OpenBundle
from pcsr.runtime.result import Result, Stats
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.upscaler import Upscaler
from pcsr.single_file import SingleFile

from .two_calls import upscale_in_two_calls

Pixels = NDArray[Any]
REQUEST = {"request": instance(RoutingRequest)}


def upscale_together(
    upscaler: Upscaler,
    images: Any,  # noqa: ANN401
    scale: float | None,
    request: RoutingRequest,
) -> Result:
    """Upscales a batch of RGB images that share one rule of routing, as the published code routes
    a batch (paper section 3.3 with images that are patches): `adaptive` clusters the pixels of all
    images at once, and `heavy_ratio` takes its share of them all. Any other request, and a network
    without routing, gives what a batch in a call gives.

    On the backend native this is exact: a batch of one image gives what a call gives, bit for bit.
    The other backends are called twice, first for the difficulties, then with the k whose
    threshold is the rule's: so they take two upsamplers at most, and a pixel whose difficulty lies
    within float32 rounding of the threshold may go to the other one.

    Examples:
        >>> import numpy as np
        >>> from pcsr import Upscaler
        >>> from pcsr.runtime.routing.request import RoutingRequest
        >>> from pcsr.runtime.together.batch import upscale_together
        >>> patches = np.stack([photo[:20, :20], photo[:20, 20:]])
        >>> with Upscaler("carn-pcsr/") as upscaler:
        ...     result = upscale_together(upscaler, patches, 4, RoutingRequest(heavy_ratio=0.25))
        >>> result.image.shape, round(result.stats.heavy_share, 2)
        ((2, 80, 80, 3), 0.25)

    Args:
        images: [N, h, w, 3], N at least 1, uint8, uint16 or float32 nominally in [0, 1], in the
            host's memory.
        scale: at least 1; None takes the scale the network was trained for.
        request: how the batch is routed; what it leaves open is as the upscaler's default says.

    Returns:
        NumPy arrays with an axis of the images in front: the image in the dtype of `images`
        (float32 is not clipped), the assignment and the difficulty. Of the figures the counts and
        the stages are sums over all images, and `total_ms` is the time of the call.

    Raises:
        ImageError: images that are no batch of RGB images as above.
        UsageError: as a call of the upscaler does; a budget, which is for one image; statistics
            over several images with three or more upsamplers on another backend than native.
    """
    begin = perf_counter()
    request = checked({"request": request}, REQUEST)["request"]
    pixels = as_array(images)
    _check_batch(pixels)
    with upscaler.opened() as opened:
        result = _upscaled(opened, pixels, scale, request)
    return replace(result, measured=_timed(result.stats, 1000 * (perf_counter() - begin)))


def _timed(stats: Stats, total_ms: float) -> Stats:
    """Gives the figures with another time in all; the stages' are not reckoned yet."""
    figures = {
        each.name: getattr(stats, each.name) for each in fields(stats) if each.name != "stage_ms"
    }
    return Stats.timed(lambda: stats.stage_ms, **figures | {"total_ms": total_ms})


def _check_batch(pixels: Pixels) -> None:
    if pixels.ndim != 4 or pixels.shape[3] != 3 or len(pixels) == 0:
        raise ImageError(
            "expected RGB images [N, height, width, 3], N at least 1, found shape "
            f"{list(pixels.shape)}"
        )
    Layout.of(pixels[0])


def _upscaled(
    opened: OpenBundle, pixels: Pixels, scale: float | None, request: RoutingRequest
) -> Result:
    bundle, size = opened.planner.bundle, size_of(pixels[0])
    if isinstance(bundle, SingleFile) and bundle.routing == "adaptive" and len(pixels) > 1:
        raise UsageError(
            f"{bundle.path} has ADM of each image baked in; pass the bundle's folder to cluster "
            "images together"
        )
    scale, request = opened.completed(scale, request)
    if request.budget_ms is not None:
        raise UsageError("a budget is for one image, not for a batch; name a preset or k")
    request = opened.planner.resolve(request, scale, size).request
    if len(pixels) == 1 or not request.needs_statistics:
        return opened.upscaled(pixels, scale, request)
    if isinstance(opened.executor, HostUpscaler) and opened.executor.passes == "native":
        from .banded import upscale_banded  # needs the compiled passes

        return upscale_banded(opened.executor, pixels, scale, request, opened.memory.take)
    return upscale_in_two_calls(opened, pixels, scale, request)
