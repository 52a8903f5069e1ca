"""Checks that a bundle's network can do what it is asked for."""

from pcsr.bundle import Bundle
from pcsr.errors import UsageError
from pcsr.single_file import SingleFile, k_label

from .request import RoutingRequest


def check_request(bundle: Bundle, scale: float, request: RoutingRequest) -> None:
    """Raises UsageError for a scale or a routing that the bundle's network does not have."""
    if isinstance(bundle, SingleFile):
        _check_baked(bundle, scale, request)
        return
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


def _check_baked(file: SingleFile, scale: float, request: RoutingRequest) -> None:
    """Raises UsageError for what differs from what a graph of one file has baked in."""
    baked = {"scale": f"{file.manifest.trained_scale:g}"}
    asked = {"scale": f"{scale:g}"}
    if request.routes or request.k is not None:
        is_k = request.label.startswith("k=")
        baked["routing"] = file.routing
        asked["routing"] = k_label(request.cost_weight) if is_k else request.label
    if file.routing != "none":
        baked["refine"], asked["refine"] = _on(file.manifest.refine), _on(request.is_refined)
    for name, value in asked.items():
        if value != baked[name]:
            raise UsageError(
                f"{file.path} has {name} {baked[name]} baked in, found {value}; leave the option "
                "out, or write another file with pcsr-export --single-file"
            )


def _on(is_on: bool) -> str:
    return "on" if is_on else "off"
