"""One very large image on several workers: its parts are tasks, its rows are joined in order.

The decoded input lies in the cluster's object store once. Each part is classified where the routing
needs it, the counts are added, and each part is upscaled by the one rule that comes of them: the
file is that of one process, byte for byte. Ray decides what runs where, and computes a part again
whose worker was lost.
"""

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import cycle
from operator import add
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcsr import images
from pcsr.errors import ImageError, PcsrError
from pcsr.runtime.files.batch import STREAMED_PIXELS
from pcsr.runtime.parts import CutImage, ImageParts, UpscaledPart
from pcsr.runtime.result import Stats
from pcsr.runtime.routing.merging import Counted, Counts
from pcsr.runtime.routing.request import RoutingRequest
from pcsr.runtime.routing.rule import Rule
from pcsr.runtime.upscaler import Upscaler
from pcsr.text import last_line

from .packed import packed, unpacked

LOG = logging.getLogger("pcsr.batch")
PART_PIXELS = 2**24  # of the output: 48 MiB of uint8 RGB, and about 0.4 GiB while it is computed
AHEAD = 2  # so that a worker has its next part when one is finished
MOST_RETRIES = 3  # of a part whose worker is lost


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


def upscale_parts(
    picture: images.Picture,
    cut: CutImage,
    run: Run,
    target: Path,
    overwrite: bool = False,
    quality: int = 95,
) -> Stats:
    """Writes a picture that was cut, as pcsr-upscale writes it whole; `run` computes the parts.

    Raises:
        ImageError, OutputError, UsageError: as `images.write`, and what `run` raises. Nothing is
            left of the output then.
    """
    start = perf_counter()
    size, of_parts = cut.hr_size, range(len(cut.parts))

    def count(counted: Counted) -> Counts:
        found: Counts = reduce(add, run(PartTask(cut, index, counted) for index in of_parts))
        return found

    made: list[UpscaledPart] = []
    with images.row_writer(picture, size, target, overwrite, quality) as write:
        rule = cut.rule(count)
        for part in run(PartTask(cut, index, None, rule) for index in of_parts):
            write(part.pixels)
            made.append(part.without_pixels())
            del part  # large, and the next is awaited
    return cut.stats(made, 1000 * (perf_counter() - start))


def cut_if_large(
    upscaler: Upscaler,
    picture: images.Picture,
    scale: float | None,
    request: RoutingRequest,
    workers: int,
) -> CutImage | None:
    """Cuts a picture for so many workers, where it is worth it: its output has more than 2**26
    pixels and there are two workers at least. None where it is to be computed whole: as it is
    small, or (the log says so) since this backend or routing needs that.
    """
    pixels = picture.pixels
    factor = upscaler.completed(scale, request)[0]
    hr_pixels = math.prod(round(length * factor) for length in pixels.shape[:2])
    if workers < 2 or hr_pixels <= STREAMED_PIXELS or pixels.dtype.kind != "u":
        return None
    try:
        with upscaler.parts() as parts:
            cut = parts.cut(pixels, scale, request, part_count(hr_pixels, workers))
    except PcsrError as error:
        LOG.warning("an image of %d output pixels is computed whole: %s", hr_pixels, error)
        return None
    return cut if len(cut.parts) > 1 else None


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


def on_workers(ray: Any, workers: Sequence[Any], pixels: NDArray[Any]) -> Run:  # noqa: ANN401
    """Computes parts on actors of `PartWorker`, in turn: each has at most `AHEAD` parts that it
    computes, or that wait for it or to be taken.
    """
    held = ray.put(pixels)

    def run(tasks: Iterable[PartTask]) -> Iterator[Any]:
        sent: deque[Any] = deque()
        for task, worker in zip(tasks, cycle(workers)):
            if len(sent) == AHEAD * len(workers):
                yield _taken(ray, sent.popleft())
            sent.append(worker.run.remote(task, held))
        while sent:
            yield _taken(ray, sent.popleft())

    return run


@contextmanager
def part_workers(
    ray: Any,  # noqa: ANN401
    bundle: Path,
    opening: Mapping[str, Any],
    count: int,
) -> Iterator[Sequence[Any]]:
    """Lends actors that compute parts with a bundle, opened with these arguments of `Upscaler`.
    One that is lost is started again, and does its part again.
    """
    kind = ray.remote(PartWorker).options(
        num_cpus=opening.get("threads") or 1,
        max_restarts=-1,
        max_task_retries=MOST_RETRIES,
    )
    content = ray.put(packed(bundle))
    workers = [kind.remote([content], dict(opening)) for _ in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            ray.kill(worker)


class PartWorker:
    """An actor that computes parts: `ray.remote(PartWorker)`.

    bundle: the reference to the packed bundle, in a list, so that a restarted worker fetches it.
    """

    def __init__(self, bundle: Sequence[Any], opening: Mapping[str, Any]) -> None:
        import ray

        self._stack = ExitStack()
        folder = self._stack.enter_context(unpacked(ray.get(bundle[0])))
        self._upscaler = self._stack.enter_context(Upscaler(folder, **opening))

    def run(self, task: PartTask, pixels: NDArray[np.generic]) -> Any:  # noqa: ANN401
        """Returns what the part gives, or the PcsrError that it fails with."""
        try:
            with self._upscaler.parts() as parts:
                return task(parts, pixels)
        except PcsrError as error:
            return error

    def pid(self) -> int:
        """Gives the id of its process."""
        return os.getpid()


def _taken(ray: Any, reference: Any) -> Any:  # noqa: ANN401
    try:
        result = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise ImageError(
            f"a part of the image killed its worker {MOST_RETRIES + 1} times, or the cluster lost "
            f"it: {last_line(error)}; most often memory ran out: use a smaller --tile"
        ) from error
    if isinstance(result, PcsrError):
        raise result
    return result
