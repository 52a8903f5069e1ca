"""A large image in parts: cut on one machine, counted and upscaled on several, joined on one.

What travels (`CutImage`, `Counted`, counts, `Rule`, `UpscaledPart`) can be pickled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

from numpy.typing import NDArray

from pcsr.errors import BackendError, ImageError, UsageError

from .cpu.parts import Part
from .cpu.pipeline import Task
from .cpu.upscaler import HostUpscaler, size_of
from .geometry.grid import Floats, hr_size, refuse_huge
from .inputs.arguments import checked, instance, shown, whole
from .inputs.arrays import as_array
from .layout import Layout
from .open import OpenBundle
from .result import Stats
from .routing.merging import Counted, Counts, Pass, merged_rule
from .routing.request import RoutingOptions, RoutingRequest
from .routing.rule import Rule
from .timing import Stopwatch, summed_stages

Pixels = NDArray[Any]
COUNT = {"count": whole("be a number of parts from 1 on", 1)}
REQUEST = {"request": instance(RoutingRequest)}
RULE = {"rule": replace(instance(Rule), advice="make it with cut.rule")}
COUNTED = {"counted": instance(Counted)}


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

    def rule(self, run: Pass | None = None) -> Rule | None:
        """Makes the rule that routes all parts; None for a plain network.

        run: is called for each pass over the parts that the request needs (none for k, at most two
            else), with what `ImageParts.count` takes as `counted`; it returns the sum (`+`) of what
            that gives for all parts.

        Raises:
            UsageError: there is no such function where one is needed, or it returns something else.
        """
        if run is not None and not callable(run):
            raise UsageError(f"run must be a function that counts all parts, found {shown(run)}")
        if self.cost is None:
            return None
        height, width = self.hr_size
        return merged_rule(self.cost, self.request, height * width, run or _no_run)

    def stats(self, parts: Sequence["UpscaledPart"], total_ms: float) -> Stats:
        """Gives the figures of the image from those of its parts; stage times are sums over all
        workers.
        """
        return Stats(
            lr_size=self.size,
            hr_size=self.hr_size,
            pixels_per_upsampler=tuple(
                map(sum, zip(*(part.counts for part in parts), strict=True))
            ),
            threshold=parts[0].threshold,
            stage_ms=summed_stages(part.stage_ms for part in parts),
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


CUT = {"cut": instance(CutImage)}


class ImageParts:
    """Cuts images, and computes parts of them, with an open bundle; see `Upscaler.parts`. After the
    block that it is lent to, each use raises UsageError.

    Examples:
        >>> import functools, operator
        >>> from pcsr import Upscaler
        >>> with Upscaler("carn-pcsr/").parts() as parts:
        ...     cut = parts.cut(photo, adaptive=True)
        ...     def run(counted):
        ...         rows = enumerate(photo[part.seen] for part in cut.parts)
        ...         counts = [parts.count(cut, index, each, counted) for index, each in rows]
        ...         return functools.reduce(operator.add, counts)
        ...     rule = cut.rule(run)
        ...     made = parts.upscale(cut, 0, photo[cut.parts[0].seen], rule)
        >>> made.pixels.dtype, made.pixels.shape[1:]
        (dtype('uint8'), (160, 3))

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
        self._is_over = False

    def end(self) -> None:
        """Refuses all that comes later: nothing keeps the bundle open any more."""
        self._is_over = True

    def cut(
        self,
        image: Any,  # noqa: ANN401
        scale: float | None = None,
        request: RoutingRequest | None = None,
        count: int = 2,
        **options: Unpack[RoutingOptions],
    ) -> CutImage:
        """Cuts an image [h, w] or [h, w, 1 or 3] into `count` bands of rows; into fewer where they
        would be lower than the rows that they read around them. Scale and options (`k`, `adaptive`,
        `heavy_ratio`, ...) are those of a call; `request` holds them as one.

        Raises:
            ImageError: no image, or one with alpha.
            UsageError: as a call does; a budget, which is for one machine; a count below 1.
        """
        self._check()
        count = checked({"count": count}, COUNT)["count"]
        if request is not None and options:
            raise UsageError(f"request and {', '.join(options)} exclude each other; choose one")
        request = RoutingRequest.of(options) if request is None else request
        request = checked({"request": request}, REQUEST)["request"]
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
            UsageError: no such part, or a plain network, which has no rule.
        """
        self._check(cut, index)
        checked({"counted": counted}, COUNTED)
        if cut.cost is None:
            raise UsageError("the parts of a plain network are not counted; its rule is None")
        return self._host.count(_task(cut, index, rows), cut.parts[index], counted)

    def upscale(self, cut: CutImage, index: int, rows: Pixels, rule: Rule | None) -> UpscaledPart:
        """Computes the output rows of a part by the rule of the whole image; `rows` as of `count`.

        Raises:
            ImageError: as `count`; or the network gives NaN.
            UsageError: no such part, or no rule of this image.
        """
        self._check(cut, index)
        if cut.cost is not None:
            taken: Rule = checked({"rule": rule}, RULE)["rule"]
            if len(taken.cost) != len(cut.cost):
                raise UsageError("the rule is of another image's bundle; make it with cut.rule")
        watch, layout = Stopwatch(), cut.layout
        task, part = _task(cut, index, rows), cut.parts[index]
        made, routed = self._host.upscale(task, part, rule, layout.working_dtype, watch)
        with watch.stage("convert"):
            pixels = layout.from_network(made.pixels) if layout.is_gray else made.pixels
            pixels = pixels.astype(layout.dtype, copy=False)
        counts = tuple(int(each) for each in routed.counts)
        return UpscaledPart(pixels, counts, routed.threshold, watch.stage_ms)

    def _check(self, cut: CutImage | None = None, index: int = 0) -> None:
        if self._is_over:
            raise UsageError("these parts were lent to a block that has ended; call parts() again")
        if cut is None:
            return
        checked({"cut": cut}, CUT)
        last = len(cut.parts) - 1
        checked({"index": index}, {"index": whole(f"be from 0 to {last}", 0, last)})
        bundle = self._opened.planner.bundle
        upsamplers = 0 if bundle.kind == "plain" else bundle.upsamplers
        if upsamplers != (0 if cut.cost is None else len(cut.cost)):
            raise UsageError("the image was cut for another bundle; cut it with this one")


def _no_run(_: Counted) -> Counts:
    raise UsageError(
        "adaptive and heavy_ratio need rule(run) with a function that counts all parts, found None"
    )


def _task(cut: CutImage, index: int, rows: Pixels) -> Task:
    seen, layout = cut.parts[index].seen, cut.layout
    channels = (layout.channels,) if layout.channels else ()
    expected = (seen.stop - seen.start, cut.size[1], *channels)
    rows = as_array(rows)
    if rows.shape != expected or rows.dtype != layout.dtype:
        raise ImageError(
            f"expected rows {seen.start} to {seen.stop - 1} of the image, {list(expected)} "
            f"{layout.dtype}, found {list(rows.shape)} {rows.dtype}"
        )

    def read(first: int, stop: int) -> Floats:
        return layout.to_network(rows[first - seen.start : stop - seen.start])

    return Task(cut.size, read, cut.scale, cut.request)
