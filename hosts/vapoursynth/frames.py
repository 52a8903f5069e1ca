"""Computes the frames of a clip: images and properties of one frame of the source."""

from dataclasses import dataclass

import numpy as np
import vapoursynth as vs

from pcsr.errors import ImageError
from pcsr.runtime.result import Result
from pcsr.text import one_line

from .formats import Pixels, pixels_of, put
from .pool import PerFrame, Shared

SHARE, THRESHOLD, MAP = "PCSRHeavyShare", "PCSRThreshold", "PCSRRoutingMap"
ALPHA = "_Alpha"
COLOURS = ("_Matrix", "_Primaries", "_Transfer", "_ChromaLocation", "_ColorRange", ALPHA)
"""Properties that say how a picture's values are meant, and mean nothing for a map."""


@dataclass(frozen=True)
class Blanks:
    """Clips of the output's size whose frames are copied to be written."""

    image: vs.VideoNode
    alpha: vs.VideoNode
    """Gray, of the image's depth."""
    map: vs.VideoNode
    """GRAY8."""

    @classmethod
    def like(cls, clip: vs.VideoNode, size: tuple[int, int]) -> "Blanks":
        """Makes them for a clip whose output has this (height, width)."""
        gray = clip.format.replace(color_family=vs.GRAY)
        return cls(*(_blank(clip, size, form) for form in (clip.format.id, gray.id, vs.GRAY8)))


@dataclass(frozen=True)
class Filter:
    """What computes a frame, and what is asked for."""

    pool: Shared | PerFrame
    with_map: bool

    def clip(self, source: vs.VideoNode, size: tuple[int, int]) -> vs.VideoNode:
        """Gives the clip of its frames, of (height, width); any number of them are computed at
        once.
        """
        blanks = Blanks.like(source, size)
        clips = [source, blanks.image, blanks.alpha, blanks.map]

        # One ModifyFrame computes one frame at a time, whichever thread asks; so each frame gets
        # its own.
        def of_frame(n: int) -> vs.VideoNode:
            return vs.core.std.ModifyFrame(blanks.image, clips, self._frame)

        return vs.core.std.FrameEval(blanks.image, of_frame, clip_src=[source])

    def _frame(self, n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        try:
            return self._computed(*f)
        except Exception as error:
            line = one_line(f"pcsr: frame {n}: {str(error) or type(error).__name__}")
        raise vs.Error(line)

    def _computed(
        self,
        source: vs.VideoFrame,
        blank: vs.VideoFrame,
        blank_alpha: vs.VideoFrame,
        blank_map: vs.VideoFrame,
    ) -> vs.VideoFrame:
        alpha = source.props.get(ALPHA)
        image = pixels_of(source) if alpha is None else _with_alpha(source, alpha)
        with self.pool.lent() as frames:
            result = frames(image)
        out = blank.copy()
        out.props.clear()
        out.props.update(source.props)
        put(result.image if alpha is None else _colour(result.image), out)
        if alpha is not None:
            out.props[ALPHA] = _filled(result.image[..., -1], blank_alpha, alpha)
        if result.assignment is not None:
            _describe(out, result)
            if self.with_map:
                out.props[MAP] = _filled(levels(result), blank_map, out)
        return out


def levels(result: Result) -> Pixels:
    """Gives the routing map [H, W] uint8: 255 for the heaviest upsampler, 0 for the lightest."""
    table = np.linspace(255, 0, result.upsamplers).round().astype(np.uint8)
    found: Pixels = table[result.assignment]
    return found


def map_clip(computed: vs.VideoNode) -> vs.VideoNode:
    """Gives the clip of the routing maps that the frames of a clip carry."""
    blank = _blank(computed, (computed.height, computed.width), vs.GRAY8)

    def carried(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        return f.props[MAP]

    return vs.core.std.ModifyFrame(blank, [computed], carried)


def _describe(out: vs.VideoFrame, result: Result) -> None:
    out.props[SHARE] = float(result.stats.heavy_share)
    if result.stats.threshold is not None:
        out.props[THRESHOLD] = float(result.stats.threshold)


def _filled(pixels: Pixels, blank: vs.VideoFrame, like: vs.VideoFrame) -> vs.VideoFrame:
    """Makes a frame of the second clip: full range, with the properties that are no colours."""
    out = blank.copy()
    put(pixels, out)
    out.props.clear()
    out.props.update({name: value for name, value in like.props.items() if name not in COLOURS})
    out.props["_Range"] = vs.RANGE_FULL
    return out


def _with_alpha(source: vs.VideoFrame, alpha: vs.VideoFrame) -> Pixels:
    form = source.format.replace(color_family=vs.GRAY)
    size = (source.width, source.height)
    if alpha.format.id != form.id or (alpha.width, alpha.height) != size:
        raise ImageError(
            f"expected an alpha plane of {form.name}, {size[0]}x{size[1]}, found "
            f"{alpha.format.name}, {alpha.width}x{alpha.height}; remove it: "
            'clip.std.RemoveFrameProps("_Alpha")'
        )
    return np.dstack([pixels_of(source), pixels_of(alpha)])


def _colour(image: Pixels) -> Pixels:
    return image[..., 0] if image.shape[2] == 2 else image[..., :3]


def _blank(clip: vs.VideoNode, size: tuple[int, int], form: int) -> vs.VideoNode:
    height, width = size
    return vs.core.std.BlankClip(clip, width=width, height=height, format=form, keep=True)
