"""A large image in parts: what is asked of each of them, and how their rows are joined."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from time import perf_counter
from typing import Any

from numpy.typing import NDArray

from pcsr.errors import PcsrError
from pcsr.runtime.files.batch import STREAMED_PIXELS
from pcsr.runtime.geometry.grid import hr_size
from pcsr.runtime.parts import CutImage, ImageParts, UpscaledPart
from pcsr.runtime.process.cancellation import Cancellation
from pcsr.runtime.result import Stats
from pcsr.runtime.routing.merging import Counted, Counts
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import Rule
from pcsr.runtime.upscaler import Upscaler

LOG = logging.getLogger("pcsr.batch")
PART_PIXELS = 2**24  # of the output: 48 MiB of uint8 RGB, and about 0.4 GiB while it is computed


@dataclass(frozen=True)
class PartTask:
    """What is asked of one part: counts where `counted` is set, else its output rows."""

    cut: CutImage
    index: int
    counted: Counted | None = None
    rule: Rule | None = None

    def __call__(self, parts: ImageParts, pixels: NDArray[Any]) -> Counts | UpscaledPart:
        """Computes it from the pixels of the whole input, of which it reads a part."""
        rows = pixels[self.cut.parts[self.index].seen]
        if self.counted is not None:
            return parts.count(self.cut, self.index, rows, self.counted)
        return parts.upscale(self.cut, self.index, rows, self.rule)


Run = Callable[[Iterable[PartTask]], Iterator[Any]]
"""Computes tasks of one image anywhere, and yields their results in order."""


class PartsUpscaler(Upscaler):
    """An `Upscaler` that has large images streamed by workers: those whose output has more than
    2**26 pixels. It computes all else itself, also where this backend or routing needs the whole
    image, which the log says.

    run: gives what computes the parts of an image [h, w] or [h, w, 3].
    workers: how many they are; with one alone images are not cut.
    """

    def __init__(
        self,
        bundle: Path,
        run: Callable[[NDArray[Any]], Run],
        workers: int,
        **opening: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(bundle, **opening)
        self._run_of, self._workers = run, workers

    def run_stream(
        self,
        image: Any,  # noqa: ANN401
        take: Callable[[NDArray[Any]], None],
        scale: float | None,
        request: RoutingRequest,
        cancellation: Cancellation | None = None,
    ) -> Stats:
        cut = self._cut(image, scale, request)
        if cut is None:
            return super().run_stream(image, take, scale, request, cancellation)
        return stream_parts(cut, self._run_of(image), take, cancellation)

    def _cut(
        self, pixels: NDArray[Any], scale: float | None, request: RoutingRequest
    ) -> CutImage | None:
        height, width = hr_size(pixels.shape[:2], self.completed(scale, request)[0])
        if self._workers < 2 or height * width <= STREAMED_PIXELS:
            return None
        try:
            with self.parts() as parts:
                count = part_count(height * width, self._workers)
                cut = parts.cut(pixels, scale, request, count)
        except PcsrError as error:
            LOG.warning("an image of %dx%d is computed whole: %s", width, height, error)
            return None
        return cut if len(cut.parts) > 1 else None


def stream_parts(
    cut: CutImage,
    run: Run,
    take: Callable[[NDArray[Any]], None],
    cancellation: Cancellation | None = None,
) -> Stats:
    """Hands the rows of an image that was cut to `take`, as `Upscaler.stream`; `run` computes them.

    Raises:
        ImageError: a part does.
        CancelledError: `cancellation` ended it, between two parts.
    """
    start, of_parts = perf_counter(), range(len(cut.parts))

    def checked(tasks: Iterable[PartTask]) -> Iterator[Any]:
        for result in run(tasks):
            if cancellation is not None:
                cancellation.check()
            yield result

    def count(counted: Counted) -> Counts:
        found: Counts = reduce(add, checked(PartTask(cut, index, counted) for index in of_parts))
        return found

    rule = cut.rule(count)
    made: list[UpscaledPart] = []
    for part in checked(PartTask(cut, index, None, rule) for index in of_parts):
        take(part.pixels)
        made.append(part.without_pixels())
        del part  # large, and the next is awaited
    return cut.stats(made, 1000 * (perf_counter() - start))


def part_count(hr_pixels: int, workers: int) -> int:
    """Counts the parts of an image: at least two for each worker, as many for each, of at most
    `PART_PIXELS` output pixels.
    """
    return workers * max(2, math.ceil(hr_pixels / (workers * PART_PIXELS)))


def in_process(upscaler: Upscaler, pixels: NDArray[Any]) -> Run:
    """Computes parts one after another in this process."""

    def run(tasks: Iterable[PartTask]) -> Iterator[Any]:
        with upscaler.parts() as parts:
            for task in tasks:
                yield task(parts, pixels)

    return run
