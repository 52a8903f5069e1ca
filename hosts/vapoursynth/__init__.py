"""A filter for VapourSynth: upscales the frames of a clip with a bundle.

from pcsr.vapoursynth import upscale
clip = upscale(clip, "carn-pcsr/", scale=2.5)
"""

try:
    import vapoursynth  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "pcsr.vapoursynth needs VapourSynth and Python 3.12 or newer; run pip install "
        "'pcsr[vapoursynth]'",
        name=missing.name,
    ) from None

from .upscale import upscale

__all__ = ["upscale"]
