"""What runs an image through the graphs of a bundle."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import UsageError

from .backends import Backend
from .grid import Floats, hr_size
from .layout import to_dtype
from .output import Output
from .routing import Mode
from .timing import Stopwatch
from .workers import Workers

Size = tuple[int, int]
ReadRows = Callable[[int, int], Floats]
"""Input rows first … stop - 1 as [1, 3, n, w] float32 RGB in [0, 1]."""


@dataclass(frozen=True)
class Routed:
    """How an image was routed. counts: pixels per upsampler, heaviest first; none for a plain
    network. threshold: see `Routing`.
    """

    counts: NDArray[np.int64]
    threshold: float | None


@dataclass(frozen=True)
class Task:
    """One image to upscale: `size` is its (height, width), `read` gives its rows."""

    size: Size
    read: ReadRows
    scale: float
    mode: Mode
    refine: bool


class Pipeline(Protocol):
    """Upscales images with the graphs of one bundle. Safe to call from several threads."""

    def run(self, task: Task, output: Output, watch: Stopwatch) -> Routed:
        """Upscales an image and hands its rows to `output`, from top to bottom.

        Raises:
            ImageError: the image is too large for the backend, or NaN comes out of the classifier.
        """


def make_pipeline(
    bundle: Bundle, backend: Backend, workers: Workers, native: bool, tile_px: int | None
) -> Pipeline:
    """The pipeline for a bundle's kind. native: all behind the backbone in compiled passes."""
    if bundle.kind == "plain":
        return PlainPipeline(bundle, backend)
    if native:
        from .native_pipeline import NativePipeline

        return NativePipeline(bundle, backend, workers, tile_px)
    from .graph_pipeline import GraphPipeline

    return GraphPipeline(bundle, backend, workers, tile_px)


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


class PlainPipeline:
    """A network with its own upsampling tail: one graph, one scale, no routing."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._bundle = bundle
        self._backend = backend

    def run(self, task: Task, output: Output, watch: Stopwatch) -> Routed:
        height, _ = hr_size(task.size, task.scale)
        with watch.stage("prepare"):
            image = task.read(0, task.size[0])
        with watch.stage("network"):
            upscaled = self._backend.run_image("network", image, ("upscaled",))[0]
        with watch.stage("convert"):
            target = output.rows(0, height)
            target.pixels[:] = to_dtype(upscaled[0].transpose(1, 2, 0), output.dtype)
        output.done(0, height)
        return Routed(np.zeros(0, dtype=np.int64), None)
