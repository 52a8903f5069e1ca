"""Frames of which only a part changed: in any order, the result is that of the frame alone."""

from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from pcsr import Upscaler
from pcsr.vapoursynth import upscale

from .clips import core, image

SIZE, LENGTH = (60, 80), 24


def screen(n: int, form: vs.VideoFormat) -> Any:  # noqa: ANN401
    """A still picture with a window that moves in every third frame, and a cut."""
    frame = image(0 if n < 18 else 1, SIZE, form).copy()
    at = 2 * (n // 3)
    frame[at : at + 9, at : at + 12] = image(7, (9, 12), form)
    return frame


def clip_of_screens(form: int) -> vs.VideoNode:
    height, width = SIZE
    blank = core.std.BlankClip(format=form, width=width, height=height, length=LENGTH, keep=True)

    def filled(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        out = f.copy()
        pixels = screen(n, blank.format)
        for plane in range(out.format.num_planes):
            source = pixels if pixels.ndim == 2 else pixels[..., plane]
            np.copyto(np.asarray(out[plane]), source)
        return out

    return core.std.ModifyFrame(blank, [blank], filled)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("options", [{"k": 0}, {"adaptive": True}], ids=str)
@pytest.mark.parametrize("form", [vs.RGB24, vs.GRAY16, vs.RGBS])
def test_frames_in_any_order(shipped: str, form: int, options: Any, threads: int) -> None:  # noqa: ANN401
    before, core.num_threads = core.num_threads, threads
    clip = clip_of_screens(form)
    made, upscaler = upscale(clip, shipped, **options), Upscaler(shipped)
    core.std.SetVideoCache(made, mode=0)
    order = [*range(LENGTH), *np.random.default_rng(0).permutation(LENGTH).tolist()]
    expected = {n: upscaler(screen(n, clip.format), **options) for n in range(LENGTH)}
    try:
        for n, future in [(n, made.get_frame_async(n)) for n in order]:
            with future.result() as frame:
                planes = [np.asarray(frame[plane]) for plane in range(frame.format.num_planes)]
                found = planes[0] if len(planes) == 1 else np.stack(planes, axis=2)
                assert np.array_equal(found, expected[n].image)
                assert frame.props["PCSRHeavyShare"] == expected[n].stats.heavy_share
    finally:
        core.num_threads = before


def test_options(shipped: str) -> None:
    clip = clip_of_screens(vs.RGB24)
    upscale(clip, shipped, reuse="off").get_frame(0).close()
    upscale(clip, shipped, within=2).get_frame(0).close()
    wrong: dict[str, dict[str, Any]] = {
        "pcsr: reuse must be one of exact, off, found 'some'": {"reuse": "some"},
        "pcsr: within must be a number of levels from 0 to 255": {"within": -1},
    }
    for message, options in wrong.items():
        with pytest.raises(vs.Error, match=f"^{message}"):
            upscale(clip, shipped, **options)
