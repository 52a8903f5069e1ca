"""Chooses how the frames of a size are computed."""

import logging

from pcsr.runtime.cpu.graph_pipeline import PlainPipeline
from pcsr.runtime.cpu.upscaler import HostUpscaler

from .calls import Call
from .patches import PlainPatches, Size
from .reuse import PatchedFrames, Reuse, WholeFrames

LOG = logging.getLogger("pcsr.upscaler")


def open_reuse(host: HostUpscaler, size: Size, call: Call) -> Reuse:
    """Chooses it, and says where only whole frames are reused, and why."""
    halo_px = host.bundle.manifest.model.receptive_radius_px
    if halo_px is None:
        return _whole(host, "the network looks at all of a frame")
    pipeline = host.pipeline
    if isinstance(pipeline, PlainPipeline):
        if not pipeline.cuts_exactly:
            return _whole(host, INEXACT)
        return PatchedFrames(host, PlainPatches(pipeline, size, call.scale, halo_px))
    if host.passes != "native":
        return _whole(host, "the backend onnxruntime holds frames whole")
    from pcsr.runtime.cpu.native_pipeline import NativePipeline  # needs the compiled passes

    from .classified.frames import ClassifiedFrames
    from .routed import RoutedPatches

    assert isinstance(pipeline, NativePipeline)
    if not pipeline.cuts_exactly:
        return _whole(host, INEXACT)
    if not call.request.needs_statistics or pipeline.count == 1:
        patches = RoutedPatches(pipeline, size, call.scale, call.request, halo_px)
        return PatchedFrames(host, patches)
    if ClassifiedFrames.fits(pipeline, size, call.scale):
        return ClassifiedFrames(pipeline, size, call, halo_px)
    return _whole(host, "what frames of this size keep for ADM or a share takes too much memory")


INEXACT = "parts of a frame are not computed exactly in this precision"


def _whole(host: HostUpscaler, why: str) -> WholeFrames:
    LOG.info("only frames that are the one before are reused: %s", why)
    return WholeFrames(host)
