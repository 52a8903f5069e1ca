"""Checks that a bundle's network can do what it is asked for."""

from pcsr.bundle import Bundle
from pcsr.errors import UsageError

from .request import RoutingRequest


def check_request(bundle: Bundle, scale: float, request: RoutingRequest) -> None:
    """Raises UsageError for a scale or a routing that the bundle's network does not have."""
    trained = bundle.manifest.trained_scale
    if bundle.kind == "plain" and scale != trained:
        raise UsageError(f"{bundle.path} is a plain network that upscales by {trained:g} only")
    if bundle.kind == "plain" and request.routes:
        raise UsageError(
            f"{bundle.path} is a plain network without routing (k, adaptive, "
            "heavy_ratio); export a PCSR checkpoint for that"
        )
    if bundle.upsamplers == 1 and request.routes:
        raise UsageError(
            f"{bundle.path} has one upsampler and nothing to route (k, adaptive, heavy_ratio); "
            "export a checkpoint with two or more for that"
        )
