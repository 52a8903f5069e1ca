"""Images of callers on the CPU, as a pipeline takes them, and its figures as a caller gets them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pcsr.errors import ImageError

from .grid import Floats, hr_size
from .layout import Layout
from .pipeline import Routed, Task
from .result import Stats
from .routing import Mode
from .timing import Stopwatch

if TYPE_CHECKING:
    from torch import Tensor


def task_of(pixels: NDArray[Any], layout: Layout, scale: float, mode: Mode, refine: bool) -> Task:
    """What a pipeline is asked for."""

    def read(first: int, stop: int) -> Floats:
        return layout.to_network(pixels[first:stop])

    return Task(size_of(pixels), read, scale, mode, refine)


def size_of(pixels: "NDArray[Any] | Tensor") -> tuple[int, int]:
    """(height, width)."""
    return pixels.shape[0], pixels.shape[1]


def stats_of(pixels: NDArray[Any], scale: float, routed: Routed, watch: Stopwatch) -> Stats:
    """The figures of a call."""
    total_ms = watch.total_ms
    return Stats(
        lr_size=size_of(pixels),
        hr_size=hr_size(size_of(pixels), scale),
        pixels_per_upsampler=tuple(int(count) for count in routed.counts),
        threshold=routed.threshold,
        stage_ms=watch.stage_ms,
        total_ms=total_ms,
    )


def as_array(image: Any) -> NDArray[Any]:  # noqa: ANN401
    """Raises ImageError for what is no array on the CPU."""
    if isinstance(image, np.ndarray):
        return image
    try:
        return np.from_dlpack(image) if hasattr(image, "__dlpack__") else np.asarray(image)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        raise ImageError(
            f"expected an array on the CPU, found {type(image).__name__}: {error}"
        ) from error
