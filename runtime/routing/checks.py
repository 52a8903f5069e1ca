"""What a bundle's network can be asked for."""

from pcsr.bundle import Bundle
from pcsr.errors import UsageError

from .rule import Mode


def check_mode(bundle: Bundle, scale: float, mode: Mode) -> None:
    """Raises UsageError for what a bundle's network cannot do."""
    trained = bundle.manifest.trained_scale
    if bundle.kind == "plain" and scale != trained:
        raise UsageError(f"{bundle.path} is a plain network that upscales by {trained:g} only")
    if bundle.kind == "plain" and mode != Mode():
        raise UsageError(
            f"{bundle.path} is a plain network without routing (k, adaptive, "
            "heavy_ratio); export a PCSR checkpoint for that"
        )
    if bundle.upsamplers == 1 and mode != Mode():
        raise UsageError(
            f"{bundle.path} has one upsampler and nothing to route (k, adaptive, heavy_ratio); "
            "export a checkpoint with two or more for that"
        )
