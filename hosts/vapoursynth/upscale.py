"""The filter's function: opens a bundle and gives the clip of upscaled frames."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Unpack, overload

import vapoursynth as vs

from pcsr.bundle import Bundle
from pcsr.errors import PcsrError, UsageError
from pcsr.runtime.geometry.grid import hr_size, refuse_huge
from pcsr.runtime.inputs.arguments import checked, flag, refuse_unknown
from pcsr.runtime.machine import usable_cores
from pcsr.runtime.open import ARGUMENTS
from pcsr.runtime.routing.request import ARGUMENTS as ROUTING
from pcsr.runtime.routing.request import CallOptions, RoutingRequest
from pcsr.runtime.sequence.frames import ARGUMENTS as SEQUENCE
from pcsr.runtime.sequence.frames import FrameSequence
from pcsr.runtime.upscaler import Upscaler
from pcsr.text import one_line

from .formats import refuse_others
from .frames import MAP, Filter, map_clip
from .pool import PerFrame, Shared, share_of_cores

OPENING = [name for name in ARGUMENTS if name != "bundle"]


class Options(CallOptions, total=False):
    """The keywords of `pcsr.Upscaler` and of its calls, but for scale and k."""

    device: str
    backend: str
    precision: str
    threads: int | None
    tile_px: int | None
    passes: str
    cuda_graphs: bool
    may_build: bool
    reuse: str
    within: float


@overload
def upscale(
    clip: vs.VideoNode,
    bundle: Path | str,
    scale: float | None = None,
    k: float | None = None,
    routing_map: Literal[False] = False,
    **options: Unpack[Options],
) -> vs.VideoNode: ...


@overload
def upscale(
    clip: vs.VideoNode,
    bundle: Path | str,
    scale: float | None = None,
    k: float | None = None,
    *,
    routing_map: Literal[True],
    **options: Unpack[Options],
) -> tuple[vs.VideoNode, vs.VideoNode]: ...


@overload
def upscale(
    clip: vs.VideoNode,
    bundle: Path | str,
    scale: float | None = None,
    k: float | None = None,
    routing_map: bool = False,
    **options: Unpack[Options],
) -> vs.VideoNode | tuple[vs.VideoNode, vs.VideoNode]: ...


def upscale(
    clip: vs.VideoNode,
    bundle: Path | str,
    scale: float | None = None,
    k: float | None = None,
    routing_map: bool = False,
    **options: Unpack[Options],
) -> vs.VideoNode | tuple[vs.VideoNode, vs.VideoNode]:
    """Upscales the frames of a clip to round(h * scale) x round(w * scale), with the pixels of
    `pcsr.Upscaler`. Any number of frames are computed at once. The bundle is open for as long as
    the clip lives.

    Examples:
        >>> import vapoursynth as vs
        >>> from pcsr.vapoursynth import upscale
        >>> clip = vs.core.std.BlankClip(format=vs.RGBS, width=40, height=27)
        >>> larger = upscale(clip, "carn-pcsr/", scale=2.5, adaptive=True)
        >>> larger.width, larger.height, larger.format.name
        (100, 68, 'RGBS')
        >>> 0 <= larger.get_frame(0).props["PCSRHeavyShare"] <= 1
        True

    Args:
        clip: RGB24, RGB48, RGBS, GRAY8, GRAY16 or GRAYS; on a GPU RGBH and GRAYH, too. All its
            frames have one size.
        bundle: directory that pcsr-export wrote.
        scale: at least 1; None takes the scale that the network was trained for.
        k: as in a call of `pcsr.Upscaler`.
        routing_map: whether a second clip is returned: GRAY8 of the same size, 255 where the
            heaviest upsampler made the pixel, 0 where the lightest did. A frame is computed once
            for both.
        options: how `pcsr.Upscaler` is opened (device, backend, precision, threads, tile_px,
            passes, cuda_graphs, may_build), and how its calls route (adaptive, heavy_ratio,
            preset, budget_ms, max_psnr_loss_db, adaptive_budget, refine), and what is reused of
            frames before (reuse, within; see `pcsr.Upscaler.sequence`). `threads` are those of one
            frame; None gives the frames that are computed at once a share of the cores.

    Returns the clip in the format of the source. Its frames keep the source's properties and have
    `PCSRHeavyShare`, the share in [0, 1] of the pixels of the heavier half of the upsamplers, and
    `PCSRThreshold`, the difficulty above which pixels are heavy, where one threshold decides. An
    alpha plane in the property `_Alpha` is upscaled as well.

    Raises:
        vapoursynth.Error: one line: a clip that is not taken, no bundle, a wrong option, a backend
            or device that is not there. So does a frame that cannot be computed.
    """
    with _as_errors():
        refuse_unknown(options, [*OPENING, *ROUTING, *SEQUENCE])
        wants_map = checked({"routing_map": routing_map}, {"routing_map": flag()})["routing_map"]
        request = RoutingRequest.of({"k": k, **_only(options, ROUTING)})
        refuse_others(clip, str(options.get("device", "cpu")))
        opening = _only(options, OPENING)
        upscaler = Upscaler(bundle, **opening)
        if wants_map:
            _refuse_plain(upscaler.bundle)
        size = (clip.height, clip.width)
        upscaler.resolved(size, scale, request)
        scale, request = upscaler.completed(scale, request)
        refuse_huge(size, scale)
        how = {"scale": scale, **asdict(request), **_only(options, SEQUENCE)}
        pool = _pool(upscaler, opening, how)
    made = Filter(pool, wants_map).clip(clip, hr_size(size, scale))
    if not wants_map:
        return made
    vs.core.std.SetVideoCache(made, mode=1)  # else each of the two would compute the frame
    return vs.core.std.RemoveFrameProps(made, MAP), map_clip(made)


@contextmanager
def _as_errors() -> Iterator[None]:
    """Turns what the body raises into VapourSynth's error."""
    try:
        yield
    except PcsrError as error:
        raise vs.Error(one_line(f"pcsr: {error}")) from None


def _pool(
    upscaler: Upscaler, opening: Mapping[str, Any], how: Mapping[str, Any]
) -> Shared | PerFrame:
    on_device = upscaler.device != "cpu" or upscaler.backend not in ("native", "onnxruntime")
    first = upscaler.sequence(**how)
    if on_device or how["budget_ms"] is not None:
        return Shared(lambda: upscaler.sequence(**how))
    asked = opening.get("threads")

    def opened(threads: int) -> FrameSequence:
        path = upscaler.bundle.path.absolute()
        return Upscaler(path, **{**opening, "threads": threads}).sequence(**how)

    threads = share_of_cores(usable_cores()) if asked is None else lambda _: int(asked)
    return PerFrame(first, opened, threads)


def _only(options: Options, names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in names}


def _refuse_plain(bundle: Bundle) -> None:
    if bundle.kind == "plain":
        raise UsageError(f"{bundle.path} holds a plain network, without routing; leave out the map")
