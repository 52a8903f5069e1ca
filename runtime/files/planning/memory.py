"""The memory that an image takes, and its refusal where that is not there."""

import math

import numpy as np

from pcsr.errors import ImageError
from pcsr.runtime.layout import Layout
from pcsr.runtime.machine import available_bytes

_ROUTING_BYTES = 5  # of an output pixel: its upsampler and its difficulty
_SHARE_BYTES = 10  # where a share of heavy pixels is asked for; measured with 192 megapixels
_OVERLAY_BYTES = 3
_GRAPHS_BYTES = 64  # where graphs run over the whole image; ONNX Runtime took 53 to 70


def refuse_beyond_memory(
    name: object,
    pixels: np.ndarray,
    hr_size: tuple[int, int],
    is_streamed: bool = False,
    has_overlay: bool = False,
    has_share: bool = False,
    has_graphs: bool = False,
) -> None:
    """Raises ImageError where the result of an image, [h,w] or [h,w,2..4], takes more memory than
    there is. `hr_size` is (height, width) of the output.
    """
    layout = Layout.of(pixels)
    per_pixel = 0 if is_streamed else _whole_bytes(layout) + _OVERLAY_BYTES * has_overlay
    per_pixel += _SHARE_BYTES * has_share + _GRAPHS_BYTES * has_graphs
    needed, free = per_pixel * math.prod(hr_size), available_bytes()
    if needed > free:
        advice = "choose a smaller --scale" + (" or leave out --overlay" if has_overlay else "")
        raise ImageError(
            f"{name} would need about {needed / 2**30:.1f} GiB of memory to become "
            f"{hr_size[1]}x{hr_size[0]}, found {free / 2**30:.1f} GiB free; {advice}"
        )


def _whole_bytes(layout: Layout) -> int:
    """Counts the bytes of an output pixel that is held until all are there."""
    sample = layout.dtype.itemsize
    gray_bytes = 3 * 4 + _ROUTING_BYTES + sample
    if not layout.has_alpha:
        return gray_bytes if layout.is_gray else 3 * sample + _ROUTING_BYTES
    colour = gray_bytes if layout.is_gray else 3 * sample + _ROUTING_BYTES
    return colour + gray_bytes + layout.channels * sample
