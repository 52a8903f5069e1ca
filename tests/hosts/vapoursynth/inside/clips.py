"""Clips whose frames are known."""

from typing import Any

import numpy as np
import vapoursynth as vs
from numpy.typing import NDArray

from pcsr.vapoursynth.formats import pixels_of

core = vs.core
FORMATS = [vs.RGB24, vs.RGB48, vs.RGBS, vs.GRAY8, vs.GRAY16, vs.GRAYS]


def picture(n: int, size: tuple[int, int], channels: int) -> NDArray[np.float32]:
    """Flat squares with a little noise, in [0, 1]: easy and difficult pixels."""
    rng = np.random.default_rng(n)
    height, width = size
    squares = np.kron(rng.random((height // 8 + 1, width // 8 + 1, channels)), np.ones((8, 8, 1)))
    noise = rng.random((height, width, channels)) * (np.arange(width) > width / 2)[:, None]
    return (0.8 * squares[:height, :width] + 0.2 * noise).astype(np.float32)


def image(n: int, size: tuple[int, int], form: vs.VideoFormat) -> NDArray[Any]:
    """Frame n as an image: [h, w, 3], or [h, w] gray."""
    values = picture(n, size, form.num_planes)
    if form.sample_type == vs.INTEGER:
        bits = form.bits_per_sample
        values = (values * (2**bits - 1)).round().astype(f"uint{bits}")
    return values[..., 0] if form.num_planes == 1 else values


def clip_of(form: int, size: tuple[int, int], length: int = 8) -> vs.VideoNode:
    """A clip of `image`, with the properties that video sources set."""
    height, width = size
    options = {"width": width, "height": height, "format": form, "length": length}
    blank = core.std.BlankClip(**options, fpsnum=30000, fpsden=1001, keep=True)

    def filled(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        out = f.copy()
        values = image(n, size, out.format)
        for plane in range(out.format.num_planes):
            np.asarray(out[plane])[:] = values if values.ndim == 2 else values[..., plane]
        out.props.update({"number": n, "_PictType": "I", "_SARNum": 1, "list": [1.5, 2.5]})
        return out

    made = core.std.ModifyFrame(blank, blank, filled)
    core.std.SetVideoCache(made, mode=1, fixedsize=1, maxsize=length)
    return made


def pixels(clip: vs.VideoNode, n: int) -> NDArray[Any]:
    """The pixels of a frame: [h, w, 3], or [h, w] gray."""
    return pixels_of(clip.get_frame(n)).copy()
