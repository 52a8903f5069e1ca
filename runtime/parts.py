"""A large image in parts: cut on one machine, counted and upscaled on several, joined on one.

What travels (`CutImage`, `Counted`, counts, `Rule`, `UpscaledPart`) can be pickled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from pcsr.errors import BackendError, ImageError, UsageError

from .cpu.parts import Part
from .cpu.pipeline import Task
from .cpu.upscaler import HostUpscaler, size_of
from .geometry.grid import Floats, hr_size, refuse_huge
from .inputs.arrays import as_array
from .layout import Layout
from .open import OpenBundle
from .result import Stats
from .routing.merging import Counted, Counts, Pass, merged_rule
from .routing.request import RoutingRequest
from .routing.rule import Rule
from .timing import Stopwatch

Pixels = NDArray[Any]
NO_REQUEST = RoutingRequest()


@dataclass(frozen=True)
class CutImage:
    """An image in parts, without its pixels, and how it is upscaled."""

    size: tuple[int, int]
    """(height, width) of the input."""
    layout: Layout
    scale: float
    request: RoutingRequest
    """It is complete: k, ADM or a share of heavy pixels."""
    cost: Floats | None
    """[M] cost table; None for a plain network."""
    parts: tuple[Part, ...]

    @property
    def hr_size(self) -> tuple[int, int]:
        """(height, width) of the output."""
        return hr_size(self.size, self.scale)

    def rule(self, run: Pass) -> Rule | None:
        """Makes the rule that routes all parts; None for a plain network. `run` is called for each
        pass over the parts that the request needs (none for k, at most two else).
        """
        if self.cost is None:
            return None
        height, width = self.hr_size
        return merged_rule(self.cost, self.request, height * width, run)

    def stats(self, parts: Sequence["UpscaledPart"], total_ms: float) -> Stats:
        """Gives the figures of the image from those of its parts; stage times are sums over all
        workers.
        """
        stages: dict[str, float] = {}
        for part in parts:
            for name, took_ms in part.stage_ms.items():
                stages[name] = stages.get(name, 0.0) + took_ms
        return Stats(
            lr_size=self.size,
            hr_size=self.hr_size,
            pixels_per_upsampler=tuple(
                map(sum, zip(*(part.counts for part in parts), strict=True))
            ),
            threshold=parts[0].threshold,
            stage_ms=stages,
            total_ms=total_ms,
        )


@dataclass(frozen=True)
class UpscaledPart:
    """The output rows of a part."""

    pixels: Pixels
    """[n, W, channels] in the dtype of the input."""
    counts: tuple[int, ...]
    """Its pixels per upsampler, heaviest first; none for a plain network."""
    threshold: float | None
    """See `Stats`."""
    stage_ms: Mapping[str, float]

    def without_pixels(self) -> "UpscaledPart":
        """Gives its figures alone."""
        return replace(self, pixels=self.pixels[:0].copy())  # a view would keep all rows


class ImageParts:
    """Cuts images, and computes parts of them, with an open bundle; see `Upscaler.parts`.

    Raises:
        BackendError: the backend needs the whole image: only native, and plain networks on
            onnxruntime, on the CPU, compute it in parts.
        UsageError: the network needs it, as its receptive field is not bounded.
    """

    def __init__(self, opened: OpenBundle) -> None:
        if not isinstance(opened.executor, HostUpscaler):
            raise BackendError(
                "only the native backend on the CPU computes images in parts; upscale it whole, or "
                "open the bundle with device cpu and backend native"
            )
        self._opened, self._host = opened, opened.executor.parts()

    def cut(
        self,
        image: Any,  # noqa: ANN401
        scale: float | None = None,
        request: RoutingRequest = NO_REQUEST,
        count: int = 2,
    ) -> CutImage:
        """Cuts an image [h, w] or [h, w, 1 or 3] into `count` bands of rows; into fewer where they
        would be lower than the rows that they read around them. Scale and request are those of a
        call.

        Raises:
            ImageError: no image, or one with alpha.
            UsageError: as a call does; a budget, which is for one machine.
        """
        pixels = as_array(image)
        layout, size = Layout.of(pixels), size_of(pixels)
        scale, request = self._opened.completed(scale, request)
        if layout.has_alpha:
            raise ImageError("an image with alpha cannot be computed in parts; upscale it whole")
        if request.budget_ms is not None:
            raise UsageError("a budget is for one machine, not for parts; name a preset or k")
        refuse_huge(size, scale)
        request = self._opened.planner.resolve(request, scale, size).request
        bundle = self._opened.planner.bundle
        cost = None if bundle.kind == "plain" else bundle.manifest.costs.cost_table(scale)
        return CutImage(size, layout, scale, request, cost, self._host.cut(size, scale, count))

    def count(self, cut: CutImage, index: int, rows: Pixels, counted: Counted) -> Counts:
        """Classifies the pixels of a part, and counts for the rule of the whole image.

        rows: the input's rows that the part reads, `cut.parts[index].seen`.

        Raises:
            ImageError: other rows, or values that a call refuses.
        """
        return self._host.count(_task(cut, index, rows), cut.parts[index], counted)

    def upscale(self, cut: CutImage, index: int, rows: Pixels, rule: Rule | None) -> UpscaledPart:
        """Computes the output rows of a part by the rule of the whole image; `rows` as of `count`.

        Raises:
            ImageError: as `count`; or the network gives NaN.
        """
        watch, layout = Stopwatch(), cut.layout
        task, part = _task(cut, index, rows), cut.parts[index]
        made, routed = self._host.upscale(task, part, rule, layout.working_dtype, watch)
        with watch.stage("convert"):
            pixels = layout.from_network(made.pixels) if layout.is_gray else made.pixels
            pixels = pixels.astype(layout.dtype, copy=False)
        counts = tuple(int(each) for each in routed.counts)
        return UpscaledPart(pixels, counts, routed.threshold, watch.stage_ms)


def _task(cut: CutImage, index: int, rows: Pixels) -> Task:
    seen, layout = cut.parts[index].seen, cut.layout
    channels = (layout.channels,) if layout.channels else ()
    expected = (seen.stop - seen.start, cut.size[1], *channels)
    if rows.shape != expected or rows.dtype != layout.dtype:
        raise ImageError(
            f"expected rows {seen.start} to {seen.stop - 1} of the image, {list(expected)} "
            f"{layout.dtype}, found {list(rows.shape)} {rows.dtype}"
        )

    def read(first: int, stop: int) -> Floats:
        return layout.to_network(rows[first - seen.start : stop - seen.start])

    return Task(cut.size, read, cut.scale, cut.request)
